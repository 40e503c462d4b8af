//! The page at `/`: for people who open the address in a browser.
//!
//! Owns the page and its escaping; it is made once, at start.

use super::query::{COLLECT, EXCLUDE};
use crate::model::collectors::Collectors;

const TEMPLATE: &str = include_str!("landing.html");

/// The page, with a link to the metrics at `path`; it names the collectors that are on.
pub(super) fn page(path: &str, version: &str, collectors: Collectors) -> String {
    TEMPLATE
        .replace("{version}", &escaped(version))
        .replace("{collectors}", &collectors.to_string())
        .replace("{choice}", &choice(collectors))
        .replace("{path}", &escaped(path))
}

/// How to ask for some collectors only: links that work, made of those that are on.
fn choice(collectors: Collectors) -> String {
    let mut names = collectors.iter();
    let (Some(first), Some(last)) = (names.next(), collectors.iter().last()) else {
        return String::new();
    };
    let link = |query: String| {
        let query = escaped(&query);
        format!(r#"<a href="{{path}}?{query}"><code>?{query}</code></a>"#)
    };
    let only = link(match names.next() {
        Some(second) => format!("{COLLECT}={first}&{COLLECT}={second}"),
        None => format!("{COLLECT}={first}"),
    });
    let without = link(format!("{EXCLUDE}={last}"));
    format!("\n    Some of them: {only}; all but some: {without}.")
}

/// Text that HTML can't misread, in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_links_the_metrics_and_says_the_version() {
        let page = page("/my/metrics", "1.2.3", Collectors::ALL);
        assert!(page.contains(r#"href="/my/metrics""#));
        assert!(page.contains("Version 1.2.3."));
        assert!(page.contains("are on: cgroup, cpu, docker, machine, network, process."));
        assert!(page.contains(r#"href="/my/metrics?collect[]=cgroup&amp;collect[]=cpu""#));
        assert!(page.contains(r#"href="/my/metrics?exclude[]=process""#));
        for placeholder in ["{version}", "{path}", "{collectors}", "{choice}"] {
            assert!(!page.contains(placeholder), "{placeholder} is left");
        }
    }

    #[test]
    fn where_no_collector_is_on_there_is_no_choice() {
        let page = page("/metrics", "1", Collectors::NONE);
        assert!(page.contains("Collectors that are on: none."));
        assert_eq!(page.matches('?').count(), 0, "{page}");
    }

    #[test]
    fn nothing_breaks_out_of_the_markup() {
        let page = page(r#""><script>'&"#, "<b>", Collectors::NONE);
        assert!(page.contains("&quot;&gt;&lt;script&gt;&#39;&amp;"));
        assert!(page.contains("&lt;b&gt;"));
        assert!(!page.contains("<script"));
    }
}

//! Files that hold anything at all: each costs its own values only.

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;

/// Files of a container's, in every hierarchy.
fn files(host: &Host, path: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for mount in ["", "cpu", "cpuacct", "memory", "pids", "unified", "cpu,cpuacct"] {
        let directory = host.cgroupfs().join(mount).join(path.trim_start_matches('/'));
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let entries = entries.map(|entry| entry.expect("listed"));
        let links = entries.filter(|entry| entry.file_type().expect("known").is_symlink());
        files.extend(links.map(|entry| entry.path()));
    }
    files.sort();
    files
}

/// How a file can be mangled.
#[derive(Clone, Debug)]
enum Mangling {
    Cut(prop::sample::Index),
    Overwrite(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Replace(Vec<u8>),
}

fn manglings() -> impl Strategy<Value = Mangling> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Mangling::Cut),
        any::<(prop::sample::Index, u8)>()
            .prop_map(|(place, byte)| { Mangling::Overwrite(place, byte) }),
        (any::<prop::sample::Index>(), bytes()).prop_map(|(place, it)| Mangling::Insert(place, it)),
        bytes().prop_map(Mangling::Replace),
    ]
}

impl Mangling {
    fn apply(&self, mut text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Cut(place) => text.truncate(place.index(text.len() + 1)),
            Self::Overwrite(place, byte) if !text.is_empty() => {
                let place = place.index(text.len());
                text[place] = *byte;
            }
            Self::Overwrite(_, byte) => text.push(*byte),
            Self::Insert(place, bytes) => {
                let place = place.index(text.len() + 1);
                text.splice(place..place, bytes.iter().copied());
            }
            Self::Replace(bytes) => text.clone_from(bytes),
        }
        text
    }
}

#[test]
fn a_mangled_file_costs_its_own_values_only() {
    let hosts = ["v1", "hybrid", "v2"].map(|name| (name, Host::copy(name)));
    let hosts = hosts.each_ref().map(|(name, (host, _copy))| {
        let path = host.path(WEB);
        (*name, host, host.read_whole(&path, &[]), files(host, &path))
    });
    let cases = (0..hosts.len(), any::<prop::sample::Index>(), manglings());
    let outcome = TestRunner::default().run(&cases, |(host, choice, mangling)| {
        let (name, host, mut expected, files) = hosts[host].clone();
        let file = &files[choice.index(files.len())];
        let original = fs::read_link(file).expect("a link");
        let mangled = mangling.apply(fs::read(file).expect("read"));
        fs::remove_file(file).expect("removed");
        fs::write(file, mangled).expect("written");
        let (mut read, losses) = host.read(&host.path(WEB), &[]);
        fs::remove_file(file).expect("removed");
        symlink(original, file).expect("linked");

        let file = file.file_name().and_then(|it| it.to_str()).expect("a name");
        prop_assert!(losses.get(Collector::Cgroup, Reason::Malformed) <= 1);
        clear(file, name == "v2", &mut read);
        clear(file, name == "v2", &mut expected);
        prop_assert_eq!(read, expected, "{}", file);
        Ok(())
    });
    outcome.expect("no other values change");
}

//! How an environment on a machine differs from the one here, in words.
//!
//! Pure. What a machine has besides is no difference.

use std::collections::BTreeMap;

use super::Description;

/// Empty if the machine has what is here. `carried` names what travels with the snapshot.
pub fn differences(here: &Description, there: &Description, left_out: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    if (&here.implementation, &here.version) != (&there.implementation, &there.version) {
        let text = |of: &Description| format!("{} {}", of.implementation, of.version);
        found.push(format!("{} there, {} here", text(there), text(here)));
    }
    if here.platform != there.platform {
        found.push(format!("platform {} there, {} here", there.platform, here.platform));
    }
    let theirs: BTreeMap<&str, &str> =
        there.distributions.iter().map(|there| (there.name.as_str(), there.version.as_str())).collect();
    for mine in &here.distributions {
        if !mine.carry.is_empty() || left_out.contains(&mine.name.as_str()) {
            continue;
        }
        match theirs.get(mine.name.as_str()) {
            None => found.push(format!("no {} there, {} here", mine.name, mine.version)),
            Some(version) if *version != mine.version => {
                found.push(format!("{} {version} there, {} here", mine.name, mine.version));
            }
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Distribution;

    fn description(version: &str, packages: &[(&str, &str)]) -> Description {
        Description {
            implementation: "CPython".into(),
            version: version.into(),
            platform: "linux-x86_64".into(),
            prefix: "/e".into(),
            conda: false,
            directories: Vec::new(),
            distributions: packages
                .iter()
                .map(|(name, version)| Distribution {
                    name: (*name).into(),
                    version: (*version).into(),
                    installer: String::new(),
                    url: None,
                    editable: false,
                    carry: Vec::new(),
                })
                .collect(),
            index: None,
        }
    }

    #[test]
    fn each_difference_is_named() {
        let here = description("3.12.1", &[("a", "1"), ("b", "2"), ("c", "3"), ("pip", "1")]);
        let there = description("3.11.7", &[("a", "1"), ("b", "2.1"), ("extra", "9")]);
        let expected = ["CPython 3.11.7 there, CPython 3.12.1 here", "b 2.1 there, 2 here", "no c there, 3 here"];
        assert_eq!(differences(&here, &there, &["pip"]), expected);
        assert!(differences(&here, &here, &[]).is_empty());
    }
}

//! Which security profiles watch a device.

use std::collections::BTreeSet;

use picket_model::{GroupName, ProfileName, ProfileTarget};

/// The profiles that watch a device, each once however many of its targets reach the device.
///
/// `registered` says whether a thing of the device's name exists; `groups` are the thing's groups
/// with all their ancestors, empty for a device that is no thing.
/// Source: aws AttachSecurityProfile; a profile on a group covers the groups below it.
pub fn watching(
    registered: bool,
    groups: &BTreeSet<GroupName>,
    attachments: &[(ProfileName, ProfileTarget)],
) -> BTreeSet<ProfileName> {
    let reaches = |target: &ProfileTarget| match target {
        ProfileTarget::AllThings => true,
        ProfileTarget::RegisteredThings => registered,
        ProfileTarget::UnregisteredThings => !registered,
        ProfileTarget::Group(group) => groups.contains(group),
    };
    attachments
        .iter()
        .filter(|(_, target)| reaches(target))
        .map(|(profile, _)| profile.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(device: &str, groups: &str, attachments: &str, expected: &str) {
        let groups = groups.split_whitespace().map(|name| GroupName::parse(name).unwrap());
        let attachments: Vec<_> = attachments
            .split_whitespace()
            .map(|pair| {
                let (profile, target) = pair.split_once('@').unwrap();
                let target = match target {
                    "all" => ProfileTarget::AllThings,
                    "registered" => ProfileTarget::RegisteredThings,
                    "unregistered" => ProfileTarget::UnregisteredThings,
                    group => ProfileTarget::Group(GroupName::parse(group).unwrap()),
                };
                (ProfileName::parse(profile).unwrap(), target)
            })
            .collect();
        let watching = watching(device == "registered", &groups.collect(), &attachments);
        let watching: Vec<_> = watching.iter().map(ProfileName::as_str).collect();
        assert_eq!(watching.join(" "), expected, "{device} in {groups:?}", groups = attachments);
    }

    #[test]
    fn a_profile_watches_what_one_of_its_targets_reaches() {
        check("registered", "", "p@all", "p");
        check("unregistered", "", "p@all", "p");
        check("registered", "", "p@registered q@unregistered", "p");
        check("unregistered", "", "p@registered q@unregistered", "q");
        check("registered", "floor plant", "p@plant q@floor r@roof", "p q");
        check("registered", "", "p@plant", "");
    }

    #[test]
    fn a_profile_with_two_targets_counts_once() {
        check("registered", "floor", "p@all p@floor p@registered", "p");
    }
}

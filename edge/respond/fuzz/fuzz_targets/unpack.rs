//! A function's zip, as CreateFunction takes it: whatever the bytes, they are refused or unpacked,
//! and what the check takes can be unpacked, below its folder and nowhere else.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use picket_model::FunctionRuntime;
use picket_respond::functions::code::{check, unpack};

fuzz_target!(|zip: &[u8]| {
    let runtime = FunctionRuntime::parse("python3.12").unwrap();
    let is_good = check(zip, &runtime).is_ok();
    // The folder lies in one that must stay as it is.
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("code");
    std::fs::create_dir(&folder).unwrap();
    let is_unpacked = unpack(zip, &folder).is_ok();
    assert_eq!(is_good, is_unpacked);
    let beside: Vec<_> = std::fs::read_dir(around.path()).unwrap().flatten().collect();
    assert_eq!(beside.len(), 1);
    no_links(&folder);
});

fn no_links(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        assert!(kind.is_dir() || kind.is_file(), "{}", entry.path().display());
        if kind.is_dir() {
            // So that the folder can be removed by whoever runs this.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(entry.path(), mode).unwrap();
            no_links(&entry.path());
        }
    }
}

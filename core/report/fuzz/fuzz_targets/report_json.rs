//! Any bytes as a report in JSON.
//!
//! Beyond not panicking, two laws: what is read is written and read back equal, in either format
//! and with either names, and what is refused is refused with a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_report::{Format, Names, decode, encode};

fuzz_target!(|bytes: &[u8]| match decode(Format::Json, bytes) {
    Ok(report) => {
        for format in Format::ALL {
            for names in [Names::Long, Names::Short] {
                let written = encode(&report, format, names);
                // Written plainly, a report may be longer than it came; then it is not read.
                if written.len() <= picket_report::limits::BYTES_MAX {
                    assert_eq!(decode(format, &written).as_ref(), Ok(&report));
                }
            }
        }
    }
    Err(refusal) => assert!(refusal.to_string().starts_with(['`', 't'])),
});

//! Paging: a listing goes on behind the last key of the page before.

use std::str::FromStr;

use picket_model::text::{from_hex, hex};

use crate::error::RegistryError;
use crate::limits::TOKEN_BYTES_MAX;

/// Which page of a listing is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most items wanted; 0 counts as 1.
    pub limit: usize,
    /// [`Paged::next`] of the page before; none for the first page.
    pub after: Option<String>,
}

impl Page {
    /// The first page with at most `limit` items.
    pub fn first(limit: usize) -> Self {
        Self { limit, after: None }
    }

    /// The page behind the one that gave `token`.
    pub fn after(limit: usize, token: impl Into<String>) -> Self {
        Self { limit, after: Some(token.into()) }
    }

    /// One more than wanted: the extra row says that there is a next page.
    pub(crate) fn rows_max(&self) -> i64 {
        i64::try_from(self.limit.max(1).saturating_add(1)).unwrap_or(i64::MAX)
    }

    /// The key that the listing goes on behind; none at the start.
    pub(crate) fn key<const N: usize>(
        &self,
        listing: &str,
    ) -> Result<Option<[String; N]>, RegistryError> {
        let Some(token) = &self.after else { return Ok(None) };
        decode(token)
            .and_then(|parts| match parts.split_first() {
                Some((first, key)) if first == listing => {
                    <[String; N]>::try_from(key.to_vec()).ok()
                }
                _ => None,
            })
            .map(Some)
            .ok_or_else(|| self.refused())
    }

    /// The one text that the listing goes on behind; empty at the start. Names are never empty.
    pub(crate) fn name_key(&self, listing: &str) -> Result<String, RegistryError> {
        Ok(self.key::<1>(listing)?.map(|[name]| name).unwrap_or_default())
    }

    /// A time and an id or row number that the listing goes on behind; `start` at the start.
    pub(crate) fn time_key<T: FromStr>(
        &self,
        listing: &str,
        start: (i64, T),
    ) -> Result<(i64, T), RegistryError> {
        let Some([at, id]) = self.key::<2>(listing)? else { return Ok(start) };
        match (at.parse(), id.parse()) {
            (Ok(at), Ok(id)) => Ok((at, id)),
            _ => Err(self.refused()),
        }
    }

    /// The error for a token that is not this listing's.
    pub(crate) fn refused(&self) -> RegistryError {
        let shown: String = self.after.iter().flat_map(|token| token.chars()).take(64).collect();
        RegistryError::Invalid(format!(
            "token `{}` is not one that this listing gave; ask for the first page without a token",
            shown.escape_debug()
        ))
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// At most as many as were wanted, in the listing's order.
    pub items: Vec<T>,
    /// Token for the next page; none at the end. Opaque, and good for the same listing only.
    pub next: Option<String>,
}

impl<T> Paged<T> {
    /// Cuts `rows` (asked for with [`Page::rows_max`]) to the page and makes the token.
    pub(crate) fn cut<const N: usize>(
        mut rows: Vec<T>,
        page: &Page,
        listing: &str,
        key: impl Fn(&T) -> [String; N],
    ) -> Self {
        let limit = page.limit.max(1);
        if rows.len() <= limit {
            return Self { items: rows, next: None };
        }
        rows.truncate(limit);
        let next = rows.last().map(|last| encode(listing, &key(last)));
        Self { items: rows, next }
    }

    /// The same page with every item turned into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Paged<U> {
        Paged { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

/// Separates the parts of a key; no name, id or number holds it.
const SEPARATOR: char = '\0';

/// Hex of the checksum and the parts: safe in a query string, and of no meaning to the client.
fn encode(listing: &str, key: &[String]) -> String {
    let mut text = listing.to_owned();
    for part in key {
        text.push(SEPARATOR);
        text.push_str(part);
    }
    format!("{:08x}{}", checksum(text.as_bytes()), hex(text.as_bytes()))
}

fn decode(token: &str) -> Option<Vec<String>> {
    if token.len() > TOKEN_BYTES_MAX || !token.is_ascii() {
        return None;
    }
    let (sum, hex) = token.split_at_checked(8)?;
    let bytes = from_hex(hex)?;
    if u32::from_str_radix(sum, 16).ok()? != checksum(&bytes) {
        return None;
    }
    let text = String::from_utf8(bytes).ok()?;
    Some(text.split(SEPARATOR).map(str::to_owned).collect())
}

/// FNV-1a: finds slips of copying, not malice; a forged token only names another place in the
/// caller's own listing.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        encode("things", &["pump-7".to_owned()])
    }

    #[test]
    fn a_token_leads_back_to_its_key() {
        assert_eq!(Page::after(1, token()).name_key("things").unwrap(), "pump-7");
        assert_eq!(Page::first(1).name_key("things").unwrap(), "");
    }

    #[test]
    fn a_token_of_another_listing_or_none_at_all_is_refused() {
        let mut changed = token();
        changed.pop();
        changed.push('f');
        for bad in
            ["", "x", "pump-7", "0000000000", "é", &changed, &token()[..10], &"0".repeat(9999)]
        {
            let error = Page::after(1, bad).name_key("things").unwrap_err().to_string();
            assert!(error.contains("is not one that this listing gave"), "{bad}: {error}");
        }
        assert!(Page::after(1, token()).name_key("groups").is_err());
        assert!(Page::after(1, token()).time_key("things", (0, 0)).is_err());
    }
}

//! Pages of a list.
//!
//! Two spellings: `nextToken` and `maxResults`; for certificates and policies `marker`,
//! `pageSize` and `isAscendingOrder`. Tokens mean nothing to the caller.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use picket_model::limits::{PAGE_DEFAULT, PAGE_MAX};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::input::{in_range, invalid_value};
use crate::request::Request;

/// A page asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most.
    limit: usize,
    /// What the page before gave.
    token: Option<String>,
    /// The token's member, for messages.
    member: &'static str,
}

impl PageRequest {
    /// Reads `maxResults` and `nextToken` of the query.
    ///
    /// # Errors
    /// Invalid request.
    pub fn next_token(request: &Request) -> Result<Self, ApiError> {
        let (size, token) = (request.query_u64("maxResults")?, request.query("nextToken"));
        Self::read(("maxResults", size), ("nextToken", token))
    }

    /// The same for an operation whose pages have at most `max` items, and as many unless the
    /// caller says less.
    ///
    /// # Errors
    /// Invalid request.
    pub fn next_token_up_to(request: &Request, max: usize) -> Result<Self, ApiError> {
        let size = request.query_u64("maxResults")?.unwrap_or(max as u64);
        let size = in_range("maxResults", size, 1, max as u64)?;
        Self::read(("maxResults", Some(size)), ("nextToken", request.query("nextToken")))
    }

    /// Reads `pageSize` and `marker` of the query.
    ///
    /// # Errors
    /// Invalid request.
    pub fn marker(request: &Request) -> Result<Self, ApiError> {
        let (size, token) = (request.query_u64("pageSize")?, request.query("marker"));
        Self::read(("pageSize", size), ("marker", token))
    }

    /// A page from its two members.
    ///
    /// # Errors
    /// Invalid request if the size is not from 1 to 250.
    pub fn read(
        (size_member, size): (&str, Option<u64>),
        (member, token): (&'static str, Option<&str>),
    ) -> Result<Self, ApiError> {
        let limit = match size {
            None => PAGE_DEFAULT,
            // The range is far below any usize.
            Some(size) => in_range(size_member, size, 1, PAGE_MAX as u64)? as usize,
        };
        let token = token.filter(|token| !token.is_empty()).map(str::to_owned);
        Ok(Self { limit, token, member })
    }

    /// The page of a listing of the store, which makes and reads its own tokens.
    pub fn of_store(self) -> picket_store::Page {
        picket_store::Page { limit: self.limit, after: self.token }
    }

    /// How many items at most.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The key of the item that this page begins behind; none of the first page.
    ///
    /// # Errors
    /// Invalid request if the token is none of ours.
    pub fn after(&self) -> Result<Option<String>, ApiError> {
        let Some(token) = self.token.as_deref() else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let rule = "Member must be a token that this operation gave";
        key.map(Some).ok_or_else(|| invalid_value(token, self.member, rule))
    }

    /// The token of the page that begins behind the item of a key.
    pub fn token(key: &str) -> String {
        URL_SAFE_NO_PAD.encode(key)
    }

    /// Cuts this page from a list that is there as a whole, in the order of `key`; gives the token
    /// of the next page, if there is one.
    ///
    /// # Errors
    /// Invalid request if the token is none of ours.
    pub fn cut<T>(
        &self,
        items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let after = self.after()?;
        let is_next = |item: &T| after.as_ref().is_none_or(|after| key(item) > *after);
        let mut rest = items.into_iter().filter(is_next);
        let page: Vec<T> = rest.by_ref().take(self.limit).collect();
        let has_more = rest.next().is_some();
        let next = page.last().filter(|_| has_more).map(|last| Self::token(&key(last)));
        Ok((page, next))
    }
}

/// Adds the token of the next page to an answer, if there is one.
pub fn with_next(mut answer: Value, member: &str, next: Option<String>) -> Value {
    if let Some(next) = next {
        answer[member] = json!(next);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_every_size_give_every_item_once_and_in_order() {
        let all: Vec<String> = (0..23).map(|n| format!("{n:02}")).collect();
        for limit in 1..30 {
            let mut seen = Vec::new();
            let mut token: Option<String> = None;
            loop {
                let page = PageRequest::read(("n", Some(limit)), ("t", token.as_deref())).unwrap();
                let (items, next) = page.cut(all.clone(), Clone::clone).unwrap();
                assert!(items.len() as u64 <= limit);
                seen.extend(items);
                token = next;
                if token.is_none() {
                    break;
                }
            }
            assert_eq!(seen, all, "pages of {limit}");
        }
    }

    #[test]
    fn a_page_has_1_to_250_items() {
        let limit = |size| {
            PageRequest::read(("maxResults", size), ("t", None)).map(|page| page.of_store().limit)
        };
        assert_eq!(limit(None).unwrap(), PAGE_DEFAULT);
        assert_eq!(limit(Some(250)).unwrap(), 250);
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(251)).is_err());
        let page = PageRequest::read(("m", None), ("nextToken", Some("%%%"))).unwrap();
        assert!(page.cut(vec![1], ToString::to_string).is_err());
    }
}

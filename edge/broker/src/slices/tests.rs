//! What lies in which slice.

use picket_model::DimensionName;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn slice(name: &str, operator: DimensionOperator, filters: &[&str]) -> Slice {
    let name = DimensionName::parse(name).unwrap();
    let dimension = Arc::new(MetricDimension { name, operator });
    Slice { dimension, filters: filters.iter().copied().map(str::to_owned).collect() }
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text, &FILTER_LIMITS).unwrap()
}

fn client(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

/// Both sides of a dimension with filters parted by spaces.
fn both_sides(filters: &str) -> SliceSet {
    let filters: Vec<&str> = filters.split_whitespace().collect();
    let slices = DimensionOperator::ALL.map(|operator| slice("d", operator, &filters));
    SliceSet::new(slices.into(), 1)
}

/// Whether what a mask of [`both_sides`] says is IN. It is always on one side and not on both.
fn is_in(mask: SliceMask) -> bool {
    match mask.indices().collect::<Vec<_>>()[..] {
        [0] => true,
        [1] => false,
        ref other => panic!("it lies in {other:?}"),
    }
}

/// Checks the topics, parted by spaces, of which those that begin with `!` are not in the dimension.
fn check(filters: &str, client_id: &str, topics: &str) {
    let set = both_sides(filters);
    for text in topics.split_whitespace() {
        let (wanted, text) = text.strip_prefix('!').map_or((true, text), |text| (false, text));
        let found = is_in(set.of_name(&topic(text), &client(client_id)));
        assert_eq!(found, wanted, "`{filters}` `{text}` of `{client_id}`");
    }
}

#[test]
fn in_is_what_matches_any_filter_and_not_in_what_matches_none() {
    check("a/+ b/#", "c", "a/x b b/x b/x/y !a !a/x/y !c");
    check("#", "c", "a a/b !$aws/x");
    check("$aws/#", "c", "$aws/x !aws/x");
}

#[test]
fn the_client_id_is_filled_in() {
    check("dev/${iot:ClientId}/#", "pump", "dev/pump dev/pump/x !dev !dev/other/x !dev/pump2");
    check("${iot:ClientId}", "pump", "pump !other !pump/x");
    check("a/x-${iot:ClientId}-y", "pump", "a/x-pump-y !a/x-pump !a/pump !a/x-other-y !a/x-y");
    check("${iot:ClientId}${iot:ClientId}/+", "ab", "abab/x !ab/x !ababab/x !abab");
    check("+/${iot:ClientId}", "pump", "x/pump !x/other !$aws/pump");
    check("$aws/${iot:ClientId}", "pump", "$aws/pump !$aws/other");
}

/// A client must not widen a filter by its name, nor be missed on the other side because of it.
#[test]
fn a_client_id_that_is_more_than_a_part_of_a_level_is_never_filled_in() {
    check("a/${iot:ClientId} b", "+", "!a/x b !c");
    check("a/${iot:ClientId}", "#", "!a/x !a");
    check("a/${iot:ClientId}", "x/y", "!a/x/y");
    check("a/${iot:ClientId}", "x$", "!a/x$");
}

#[test]
fn what_is_no_filter_matches_nothing() {
    check(
        "a/#/b a+ $share/g/x $share/${iot:ClientId}/x a+${iot:ClientId} ok",
        "c",
        "ok !x !a/c !b !ac",
    );
    check("", "c", "!a");
    // No such variable.
    check("a/${iot:Other}", "c", "!a/c a/${iot:Other}");
}

/// Checks filters that a client may ask for, in the form of [`check`].
fn check_filters(filters: &str, client_id: &str, asked: &str) {
    let set = both_sides(filters);
    for text in asked.split_whitespace() {
        let (wanted, text) = text.strip_prefix('!').map_or((true, text), |text| (false, text));
        let filter = TopicFilter::parse(text, &FILTER_LIMITS).unwrap();
        let found = is_in(set.of_filter(&filter, &client(client_id)));
        assert_eq!(found, wanted, "`{filters}` `{text}` of `{client_id}`");
    }
}

#[test]
fn a_filter_is_in_a_dimension_that_covers_it() {
    check_filters("a/+ b/#", "c", "a/x a/+ b b/# b/+ b/x/# !a/# !# !+/x !c $share/g/a/x");
    check_filters("#", "c", "# + a/# !$aws/x");
    check_filters("d/${iot:ClientId}/#", "c", "d/c d/c/# d/c/+ !d/+ !d/# !d/x/# !d/+/#");
}

#[test]
fn a_set_has_room_for_as_many_slices_as_there_may_be() {
    let book = SliceBook::default();
    let numbered = |n: usize| slice(&format!("d{n}"), DimensionOperator::NotIn, &["a"]);
    book.set((0..SLICES_MAX + 3).map(numbered).collect());
    let set = book.current();
    assert_eq!(set.slices.len(), SLICES_MAX);
    let everywhere = set.of_name(&topic("b"), &client("c"));
    assert_eq!(everywhere.indices().collect::<Vec<_>>(), (0..SLICES_MAX).collect::<Vec<_>>());
    assert!(set.of_name(&topic("a"), &client("c")).is_empty());
    assert_eq!(set.named(everywhere).count(), SLICES_MAX);
}

#[test]
fn the_same_slices_again_are_the_same_set() {
    let book = SliceBook::default();
    let unset = Arc::clone(&book.current());
    book.set(Vec::new());
    assert!(Arc::ptr_eq(&unset, &book.current()));
    book.set(vec![slice("d", DimensionOperator::In, &["a"])]);
    let set = Arc::clone(&book.current());
    book.set(vec![slice("d", DimensionOperator::In, &["a"])]);
    assert!(Arc::ptr_eq(&set, &book.current()));
    book.set(vec![slice("d", DimensionOperator::In, &["b"])]);
    assert_ne!(set.version, book.current().version);
}

/// Fills in the client id as text, as a reader of the documentation would.
fn naive(slice: &Slice, name: &TopicName, client: &str) -> bool {
    let matches = |text: &String| {
        let has_variable = text.contains("${iot:ClientId}");
        if has_variable && client.contains(['+', '#', '/', '$']) {
            return false;
        }
        let filter = TopicFilter::parse(&text.replace("${iot:ClientId}", client), &FILTER_LIMITS);
        filter.is_ok_and(|filter| filter.matches(name))
    };
    match slice.dimension.operator {
        DimensionOperator::In => slice.filters.iter().any(matches),
        DimensionOperator::NotIn => !slice.filters.iter().any(matches),
    }
}

fn texts(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(prop::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn slices_are_what_filling_in_and_matching_one_by_one_finds(
        slices in vec(
            (any::<bool>(), vec(texts(&[
                "a", "b", "ab", "", "+", "#", "$a", "${iot:ClientId}", "a${iot:ClientId}",
                "${iot:ClientId}b", "${iot:ClientId}a${iot:ClientId}",
            ]), 0..4)),
            0..6,
        ),
        name in texts(&["a", "b", "ab", "aa", "aba", "aab", "", "$a"]),
        client_id in prop::sample::select(&["a", "b", "ab", "+", "#", "a/b", "$a"][..]),
    ) {
        prop_assume!(!name.is_empty());
        let slices: Vec<Slice> = slices
            .iter()
            .map(|(is_in, filters)| {
                let operator =
                    if *is_in { DimensionOperator::In } else { DimensionOperator::NotIn };
                let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
                slice("d", operator, &filters)
            })
            .collect();
        let name = topic(&name);
        let wanted = slices.iter().enumerate().filter(|(_, it)| naive(it, &name, client_id));
        let wanted: Vec<usize> = wanted.map(|(at, _)| at).collect();
        let set = SliceSet::new(slices, 1);
        let found: Vec<usize> = set.of_name(&name, &client(client_id)).indices().collect();
        prop_assert_eq!(found, wanted);
    }
}

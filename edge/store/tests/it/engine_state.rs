//! The engine's state, by device.

use picket_store::{StoreError, engine_state};

use crate::scene::{Scene, device};

#[test]
fn engine_states_are_kept_until_forgotten() {
    let scene = Scene::new();
    let put = |states: Vec<(&str, Option<&[u8]>)>| {
        let states: Vec<_> =
            states.into_iter().map(|(who, s)| (device(who), s.map(<[u8]>::to_vec))).collect();
        scene.write(move |tx| engine_state::put(tx, &states)).unwrap();
    };
    put(vec![("d", Some(b"1")), ("e", Some(b"2")), ("f", None)]);
    put(vec![("d", Some(b"3")), ("e", None)]);
    let all = |scene: &Scene| scene.store.read::<_, StoreError>(engine_state::all).unwrap();
    assert_eq!(all(&scene), [(device("d"), b"3".to_vec())]);
    assert_eq!(all(&scene.reopen()), [(device("d"), b"3".to_vec())]);
}

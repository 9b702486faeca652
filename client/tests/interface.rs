//! What every program may count on: which types go to other threads, and which of them convert.

use memcarp_client::op::{Delete, DerivedFrom, Op, Store};
use memcarp_client::*;
use std::time::Duration;

fn goes_anywhere<T: Send + Sync + 'static>() {}

fn goes_to_a_task<T: Send>(value: T) -> T {
    value
}

#[test]
fn everything_goes_to_other_threads() {
    goes_anywhere::<Client>();
    goes_anywhere::<Builder>();
    goes_anywhere::<Error>();
    goes_anywhere::<ErrorKind>();
    goes_anywhere::<ComputeError<Error>>();
    goes_anywhere::<Computed>();
    goes_anywhere::<Fresh>();
    goes_anywhere::<Found>();
    goes_anywhere::<Item>();
    goes_anywhere::<Key>();
    goes_anywhere::<Value>();
    goes_anywhere::<Op>();
    goes_anywhere::<Outcome>();
    goes_anywhere::<Event>();
    goes_anywhere::<Members>();
    goes_anywhere::<MembersError>();
    goes_anywhere::<MembershipTable>();
    goes_anywhere::<Carp>();
    goes_anywhere::<Movement>();
    goes_anywhere::<Share>();
    goes_anywhere::<Discovery>();
    goes_anywhere::<Following>();
    goes_anywhere::<HealthPolicy>();
    goes_anywhere::<NearCachePolicy>();
    goes_anywhere::<Tls>();
}

/// Nothing is sent: the futures are never polled.
#[test]
fn every_future_goes_to_a_task() {
    let client = Client::new("127.0.0.1:1").unwrap();
    drop(goes_to_a_task(client.get("k").strict().timeout(Duration::from_secs(1)).send()));
    drop(goes_to_a_task(client.set("k", "v").into_future()));
    drop(goes_to_a_task(client.call(Delete::new("k")).send()));
    drop(goes_to_a_task(client.get_many(["k", "l"]).send()));
    drop(goes_to_a_task(client.batch().add(Store::set("k", "v")).send()));
    drop(goes_to_a_task(client.flush_all()));
    drop(goes_to_a_task(client.update_source_everywhere("k")));
    drop(goes_to_a_task(client.versions()));
    drop(goes_to_a_task(client.stats("items")));
    let compute = client.get_or_compute("k", Duration::from_secs(1), async || Ok::<_, Error>("v"));
    drop(goes_to_a_task(compute.into_future()));
    let owned = client.clone();
    drop(goes_to_a_task(async move { owned.get("k").await.map(drop) }));
}

/// Whatever can be stored can be computed, and whatever is a key can be a source.
#[test]
fn what_converts_into_one_converts_into_the_other() {
    fn stored_and_computed<T: Into<Value> + Into<Fresh>>() {}
    stored_and_computed::<&str>();
    stored_and_computed::<&[u8]>();
    stored_and_computed::<String>();
    stored_and_computed::<&String>();
    stored_and_computed::<Vec<u8>>();
    stored_and_computed::<&Vec<u8>>();
    stored_and_computed::<Value>();
    stored_and_computed::<()>();
    fn key_and_source<T: Into<Key> + Into<DerivedFrom>>() {}
    key_and_source::<&str>();
    key_and_source::<String>();
    key_and_source::<&String>();
    key_and_source::<Key>();
    key_and_source::<&Key>();
}

#[test]
fn shares_of_a_movement_have_a_name() {
    let carp = |list: &str| Carp::new(list.parse().unwrap()).unwrap();
    let change = movement(&carp("a,b"), &carp("a,b,c"), sample_keys(1000));
    let share: &Share = &change.members["c"];
    assert_eq!((share.before, share.kept), (0, 0));
    assert_eq!(share.after, change.moved);
}

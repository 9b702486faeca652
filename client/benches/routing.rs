//! What one lookup costs, the key's hash included, beside other ways to place keys.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memcarp_client::{Carp, Member, Members, Scheme};
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("cache-{i:04}.example:11211")).collect()
}

/// 21 bytes each, enough of them that the branch predictor cannot learn the winners.
fn keys() -> Vec<String> {
    (0..4096u64).map(|i| format!("user:profile:{:08}", i * 7919)).collect()
}

fn carp(count: usize, scheme: Scheme, weight: fn(usize) -> f64) -> Carp {
    let list = names(count).into_iter().enumerate().map(|(i, n)| Member::new(n).with_weight(weight(i)));
    Carp::with_scheme(Members::new(list.collect()).unwrap(), scheme).unwrap()
}

#[derive(Clone, PartialEq, Eq)]
struct Node(u64);

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

fn jump(mut key: u64, buckets: i64) -> i64 {
    let (mut bucket, mut next) = (-1i64, 0i64);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as i64;
    }
    bucket
}

fn ketama(count: usize) -> Vec<(u32, u32)> {
    let mut ring: Vec<(u32, u32)> = names(count)
        .iter()
        .enumerate()
        .flat_map(|(i, name)| {
            (0..160).map(move |point| (xxh3_64_with_seed(name.as_bytes(), point) as u32, i as u32))
        })
        .collect();
    ring.sort_unstable();
    ring
}

fn routing(c: &mut Criterion) {
    let keys = keys();
    for count in [10usize, 100, 1000] {
        let mut group = c.benchmark_group(format!("{count} members"));
        group.throughput(Throughput::Elements(keys.len() as u64));
        let mut measure = |name: &str, owner: &mut dyn FnMut(&str) -> usize| {
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| keys.iter().fold(0, |sum: usize, key| sum ^ owner(black_box(key))));
            });
        };
        let v2 = carp(count, Scheme::CarpV2, |_| 1.0);
        measure("carp-v2", &mut |key| v2.owner_index(key.as_bytes()));
        let weighted = carp(count, Scheme::CarpV2, |i| 1.0 + (i % 4) as f64);
        measure("carp-v2, 4 weights", &mut |key| weighted.owner_index(key.as_bytes()));
        let all_weights = carp(count, Scheme::CarpV2, |i| 1.0 + i as f64);
        measure("carp-v2, all weights differ", &mut |key| all_weights.owner_index(key.as_bytes()));
        let v1 = carp(count, Scheme::CarpV1, |_| 1.0);
        measure("carp-v1", &mut |key| v1.owner_index(key.as_bytes()));
        measure("jump hash", &mut |key| jump(xxh3_64(key.as_bytes()), count as i64) as usize);
        let ring = ketama(count);
        measure("ketama, 160 points", &mut |key| {
            let hash = xxh3_64(key.as_bytes()) as u32;
            let place = ring.partition_point(|point| point.0 < hash);
            ring[if place == ring.len() { 0 } else { place }].1 as usize
        });
        let hrw = hrw_hash::HrwNodes::new((0..count as u64).collect::<Vec<_>>());
        measure("crate hrw-hash", &mut |key| *hrw.sorted(&key).next().unwrap() as usize);
        let names = names(count);
        let mut rendezvous = rendezvous_hash::RendezvousNodes::default();
        for name in &names {
            rendezvous.insert(name.as_str());
        }
        measure("crate rendezvous_hash", &mut |key| rendezvous.calc_candidates(&key).next().unwrap().len());
        let mut ring = hashring::HashRing::new();
        (0..count as u64).for_each(|node| ring.add(Node(node)));
        measure("crate hashring", &mut |key| ring.get(&key).unwrap().0 as usize);
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(30);
    targets = routing
}
criterion_main!(benches);

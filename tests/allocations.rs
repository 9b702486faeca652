//! The hot path takes no memory from the allocator.

#[allow(dead_code, reason = "what counts instructions needs more of a case")]
#[path = "../benches/instructions/hot_path.rs"]
mod hot_path;

use hot_path::Server;

#[test]
fn commands_allocate_nothing() {
    let mut server = Server::new(true);
    let cases = hot_path::cases();
    // The list of hot keys, a sample of all, is full sooner or later.
    (0..30).flat_map(|_| &cases).flat_map(|case| &case.batches).for_each(|batch| _ = server.batch(batch));
    for case in cases {
        let mut all = || case.batches.iter().map(|batch| server.batch(batch)).sum::<usize>();
        let mut answered = 0;
        let mut allocated = allocation_counter::measure(|| answered = all());
        if allocated.count_total == 1 {
            // The list of segments, which grows as the store does: not twice in a row.
            allocated = allocation_counter::measure(|| answered = all());
        }
        assert_eq!(allocated.count_total, 0, "{}: {} bytes", case.name, allocated.bytes_total);
        assert!(answered > 0 || case.name == "ms, quiet", "{} answered nothing", case.name);
    }
}

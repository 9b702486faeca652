//! Stores, reads, counts, reads many, computes once. Run it with the addresses of your nodes:
//!
//! ```sh
//! cargo run --example quickstart 127.0.0.1:11211,127.0.0.1:11212
//! ```

use memcarp_client::{Client, Ttl};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:11211".to_owned());
    let client = Client::new(nodes)?;
    let minute = Duration::from_secs(60);

    // Outcomes are values, not errors: a store says whether it was done, a read whether it found something.
    let stored = client.set("greeting", "hello").ttl(minute).await?;
    assert!(stored.is_stored());
    if let Some(item) = client.get("greeting").await? {
        println!("greeting = {}", item.text().unwrap_or("(no text)"));
    }

    // Changed only if nobody else has changed it since it was read.
    if let Some(item) = client.get("greeting").await? {
        let swapped = client.set("greeting", "hello again").ttl(minute).compare(item.cas).await?;
        println!("swapped: {}", swapped.is_stored());
    }

    let visits = client.increment("visits", 1).or_create(1, Ttl::Never).await?;
    println!("visits = {:?}", visits.value());

    // Many keys: one round trip to each node that owns some of them, and no failure goes unsaid.
    let found = client.get_many(["greeting", "visits", "nobody"]).await;
    for item in found.hits() {
        println!("{} has {} bytes", item.key, item.size);
    }
    for failure in &found.failures {
        println!("{} keys could not be asked for: {}", failure.places.len(), failure.error);
    }

    // From the cache, or computed by one caller while all others, in all processes, wait for it.
    let report = client.get_or_compute("report:today", minute, || slow_report(2026)).await?;
    println!("{} ({:?})", report.text().unwrap_or("(no text)"), report.origin);
    Ok(())
}

async fn slow_report(year: u32) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(format!("the report of {year}"))
}

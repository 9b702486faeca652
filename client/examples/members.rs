//! Where keys go, and how many move when the list changes. Asks no server.

use memcarp_client::{Carp, Members, movement, sample_keys};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Carp::new("cache-1, cache-2, cache-3*2".parse::<Members>()?)?;
    for key in ["user:1", "user:2", "photo:{42}", "thumb:{42}:small"] {
        println!("{}", now.explain(key.as_bytes(), 1));
    }
    let planned = Carp::new("cache-1, cache-2, cache-3*2, cache-4".parse::<Members>()?)?;
    println!("{}", movement(&now, &planned, sample_keys(100_000)));
    Ok(())
}

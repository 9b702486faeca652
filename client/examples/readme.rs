//! The program of the crate's README.

use memcarp_client::Client;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = std::env::args().nth(1).unwrap_or("127.0.0.1:11211".to_owned());
    let client = Client::new(nodes)?;

    let stored = client.set("greeting", "hello").ttl(Duration::from_secs(60)).await?;
    println!("stored: {}", stored.is_stored());

    // Computed by one caller, however many want it, in however many processes.
    let user = client.get_or_compute("user:42", Duration::from_secs(300), || load_user(42)).await?;
    println!("{} bytes, {:?}", user.value.len(), user.origin);
    Ok(())
}

async fn load_user(id: u64) -> Result<String, std::io::Error> {
    Ok(format!("user {id}"))
}

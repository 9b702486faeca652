//! Expire on update: a thumbnail that ends the moment its photo changes. Needs a memcarp server.

use memcarp_client::{Client, Error, Fresh};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:11211".to_owned());
    let client = Client::new(nodes)?;

    for pixels in ["a sunrise", "a sunset"] {
        assert!(client.set("photo:{42}", pixels).await?.is_stored());
        for _ in 0..2 {
            let thumb = thumbnail(&client).await?;
            println!("{thumb}");
        }
    }
    Ok(())
}

/// The part of a key inside `{...}` routes it, so photo and thumbnail are on one node.
async fn thumbnail(client: &Client) -> Result<String, Box<dyn std::error::Error>> {
    let thumb = client
        .get_or_compute("thumb:{42}", Duration::from_secs(3600), async || {
            let photo = client.get("photo:{42}").await?.ok_or(memcarp_client::ErrorKind::Unsupported(
                "thumbnails of photos that are gone".to_owned(),
            ))?;
            let small = format!("small {}", photo.text().unwrap_or_default());
            // Names the version that was read: if the photo changes before this is stored, it is not stored.
            Ok::<_, Error>(Fresh::new(small).derived_from(&photo))
        })
        .await?;
    Ok(format!("{} ({:?})", thumb.text().unwrap_or_default(), thumb.origin))
}

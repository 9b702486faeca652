#![doc = include_str!("../docs/routing.md")]

//! `conf/wabridge.toml` tells operators the truth: it loads, it names every key, and each default it states is one.
//! And whatever can be wrong in a file is found, at its line and key. What ends a call is in `docs/operating.md`.

#[path = "conf"]
mod conf {
    mod check;
    mod guide;
    mod print;
    mod problems;
    mod reference;
    mod register;
    mod reload;
    mod workshop;
}

//! What must hold for the source as a whole; the rules and their exceptions are in `xtask/src/tidy.rs`.

#[test]
fn the_tree_is_tidy() {
    let faults = xtask::tidy::faults(&xtask::tree::top()).expect("the tree can be read");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

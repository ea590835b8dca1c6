//! `highwater` with the faults that tests choose (`src/faults.rs`): a program of its own, so that building it leaves the other one alone.

fn main() -> std::process::ExitCode {
    highwater::cli::main()
}

//! The configuration: TOML parsed once into types; unknown keys are refused with their line and the nearest known name.

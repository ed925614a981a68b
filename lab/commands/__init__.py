"""The commands of `certreplay`, a module for each group, and the options that several have; `lab.cli` joins them."""

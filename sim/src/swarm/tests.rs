//! The swarm finds what is planted, makes it small, and does the same each time.

use super::*;

//! Rooms in which `evergate supervise` is killed, by the kernel or by somebody, and the gateway that it started lives on alone: what
//! counts on being started again must find that nobody will.

use super::scope::{Room, Size, room, with};
use crate::world::Manner;
use evergate_core::supervisor::Supervisor;

/// The rooms: with each two of the wishes that lead to different ends, with a loop that stands still and a failing disk, and with
/// operators who climb.
pub fn rooms() -> [Room; 3] {
    use Manner::{ChatRestart, Climb, ClimbForced, ClimbToStop, Force, Restart, Stop, SupervisorStop, Terminate};
    use Manner::{DiskWaits, Interrupt, TurnRestartWaits, Unwatched};
    let orphaned =
        |size, wishes: &[Manner]| with(room(Supervisor::Evergate, size, wishes), |budget| budget.keepers = 1);
    let wishes = [Restart, Force, Stop, ChatRestart, TurnRestartWaits, Terminate, Interrupt, SupervisorStop];
    [
        orphaned(Size(1, 1, 2, 1, 0), &wishes),
        with(orphaned(Size(1, 1, 1, 0, 1), &[Restart, ChatRestart, Terminate, DiskWaits]), |budget| budget.freezes = 1),
        with(orphaned(Size(1, 0, 1, 1, 0), &[Restart, Climb, ClimbForced, ClimbToStop, Unwatched]), |budget| {
            (budget.ladders, budget.freezes) = (1, 1);
        }),
    ]
}

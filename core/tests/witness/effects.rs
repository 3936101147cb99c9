//! Tales of what a gateway does.

use super::records::*;
use super::seen::{Seen, limits};
use super::{Tale, tale};
use evergate_core::effect::{Answer, Effect, Refusal};
use evergate_core::gateway::Phase;
use evergate_core::id::{MessageId, RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::Invariant::*;
use evergate_core::limits::Limits;
use evergate_core::question::{Decision, QuestionKey};
use evergate_core::request::{Origin, Outcome, Signal};
use evergate_core::turn::{Conclusion, Resume};
use evergate_core::verdict::Verdict;

const ACK: Effect = Effect::Ack { message: MessageId(1) };
const REFUSE: Effect = Effect::Refuse { message: MessageId(1), refusal: Refusal::QueueFull };
const ACCEPTED: Effect = Effect::Answer { request: RequestId(1), answer: Answer::Accepted };
const CLI: Origin = Origin::Cli;
const ALLOW: Effect = Effect::Decided { turn: TurnId(1), key: QuestionKey(1), decision: Decision::Allow };

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

/// Turn 1 has died with one generation, and its second start is on disk.
fn charged(seen: &mut Seen) -> &mut Seen {
    seen.works().dies().charges(2, 2)
}

/// Turn 1 has been killed by two generations.
fn deadly(seen: &mut Seen) -> &mut Seen {
    charged(seen).resumes(2, Resume::Crash).dies()
}

fn vouches() -> Input {
    Input::ResetBreaker { request: RequestId(1), origin: CLI }
}

pub fn tales() -> Vec<Tale> {
    vec![
        tale(Lock, "generation 2 begins beside another", serves, |s| s.dies().boots(2), |s| s.boots(2)),
        tale(Lock, "generation 3 follows generation 1", |s| s.serves(1).dies(), |s| s.boots(2), |s| s.boots(3)),
        tale(
            Quiet,
            "ClosePlatforms of a process that has left",
            serves,
            |s| s.says(Effect::ClosePlatforms).dies(),
            |s| s.dies().says(Effect::ClosePlatforms),
        ),
        tale(
            Quiet,
            "ClosePlatforms after the end",
            |s| s.serves(1).signalled(Signal::Terminate),
            |s| s.says(Effect::ClosePlatforms).ends(Verdict::Exit(75)),
            |s| s.ends(Verdict::Exit(75)).says(Effect::ClosePlatforms),
        ),
        tale(
            Ack,
            "message 1 is acked and not on disk",
            serves,
            // Again, too, once it is answered.
            |s| s.writes(&[prompt(1, 1)]).says(ACK).writes(&[opened(1, 1, &[1])]).writes(&answered()).says(ACK),
            |s| s.writes(&[prompt(2, 1)]).says(ACK),
        ),
        tale(
            Ack,
            "message 1 is refused and yet on disk",
            serves,
            |s| s.writes(&[prompt(2, 1)]).says(REFUSE),
            |s| s.writes(&[prompt(1, 1)]).says(REFUSE),
        ),
        tale(
            Ack,
            "message 1 is refused and yet on disk",
            |s| s.works().writes(&answered()),
            |s| s.says(ACK),
            |s| s.says(REFUSE),
        ),
        tale(
            Ack,
            "request 1 is accepted and not on disk",
            serves,
            |s| {
                s.says(Effect::Answer { request: RequestId(1), answer: Answer::TooMany });
                s.writes(&[restart(1)]).says(ACCEPTED).writes(&[settled(1, Outcome::Cancelled)]).says(ACCEPTED)
            },
            |s| s.writes(&[restart(2)]).says(ACCEPTED),
        ),
        tale(
            Exit,
            "request 1 is accepted, and what would follow was found unable to take over",
            |s| s.serves(1).hears(Input::CandidateUnfit { request: RequestId(1) }),
            |s| s.appends(restart(2)),
            |s| s.appends(restart(1)),
        ),
        tale(
            Exit,
            "request 1 is accepted, and what would follow was found unable to take over",
            serves,
            // Accepted for another reason before that was found; its record is written again.
            |s| s.appends(restart(1)).hears(Input::CandidateUnfit { request: RequestId(1) }).appends(restart(1)),
            |s| s.hears(Input::CandidateUnfit { request: RequestId(1) }).appends(restart(1)),
        ),
        tale(
            Exit,
            "request 1 is accepted, and what would follow was found unable to take over",
            |s| s.serves(1).appends(restart(1)),
            // That it can be taken back no more says nothing of its record; that the disk is full takes it back.
            |s| {
                s.says(Effect::Answer { request: RequestId(1), answer: Answer::TooLate });
                s.hears(Input::CandidateUnfit { request: RequestId(1) }).appends(restart(1))
            },
            |s| {
                s.says(Effect::Answer { request: RequestId(1), answer: Answer::StorageFull });
                s.hears(Input::CandidateUnfit { request: RequestId(1) }).appends(restart(1))
            },
        ),
        tale(
            Loop,
            "the deaths before this generation are forgotten in request 1, and nobody vouched for it",
            serves,
            |s| s.hears(vouches()).appends(vouched(1, 1)),
            |s| s.appends(vouched(1, 1)),
        ),
        tale(
            Consent,
            "turn 1 is told Allow about its question, and on disk is None",
            |s| s.works().writes(&[questioned(1, 1, 1), asks(1, 1)]),
            |s| s.writes(&[decided(1, 1)]).says(ALLOW),
            |s| s.says(ALLOW),
        ),
        tale(
            Consent,
            "turn 1 is told Deny about its question, and on disk is Some(Allowed)",
            |s| s.works().writes(&[questioned(1, 1, 1), asks(1, 1), decided(1, 1)]),
            |s| s.says(ALLOW),
            |s| {
                let (turn, key, decision) = (TurnId(1), QuestionKey(1), Decision::Deny);
                s.says(Effect::Decided { turn, key, decision })
            },
        ),
        tale(
            Ready,
            "ready before it can serve",
            |s| s.boots(1),
            |s| s.writes(&[begun(1)]).hears(Input::PlatformsOpen).says(Effect::Ready),
            |s| s.writes(&[begun(1)]).says(Effect::Ready),
        ),
        tale(
            Ready,
            "ready before it can serve",
            |s| s.boots(1).hears(Input::PlatformsOpen),
            |s| s.writes(&[begun(1)]).says(Effect::Ready),
            |s| s.says(Effect::Ready),
        ),
        tale(
            Intent,
            "a revived generation serves although a stop was asked for",
            |s| s.serves(1).writes(&[stop(1)]).dies(),
            |s| s.serves(2),
            |s| s.serves_revived(2),
        ),
        tale(
            Intent,
            "a revived generation serves although a stop was asked for",
            |s| s.serves(1).writes(&[stop(1)]).writes(&[settled(1, Outcome::Stopped)]).dies(),
            |s| s.serves(2).dies().serves_revived(3),
            |s| s.serves_revived(2),
        ),
        tale(
            Intent,
            "a revived generation serves although a stop was asked for",
            |s| s.serves(1).writes(&[stop(1)]).writes(&[settled(1, Outcome::Stopped)]).dies(),
            |s| s.revives(2).writes(&[died(1), begun(2)]).dies().serves(3),
            |s| s.revives(2).writes(&[died(1), begun(2)]).dies().serves_revived(3),
        ),
        tale(
            Intent,
            "a revived generation serves although a stop was asked for",
            serves,
            |s| s.writes(&[restart(1)]).dies().serves_revived(2),
            |s| s.writes(&[restart(1), stop(2)]).dies().serves_revived(2),
        ),
        tale(
            Admit,
            "turn 1 starts while interrupting",
            |s| s.serves(1).writes(&[prompt(1, 1), opened(1, 1, &[1])]),
            |s| s.phase(Phase::Draining).starts(1, 1),
            |s| s.phase(Phase::Interrupting).starts(1, 1),
        ),
        tale(
            Mark,
            "start 1 of turn 1 is not on disk",
            |s| s.serves(1).writes(&[prompt(1, 1)]),
            |s| s.writes(&[opened(1, 1, &[1])]).starts(1, 1),
            |s| s.starts(1, 1),
        ),
        tale(
            Mark,
            "start 1 of turn 1 is not on disk",
            |s| s.serves(1).writes(&[prompt(1, 1), opened(1, 1, &[1])]),
            |s| s.starts(1, 1),
            |s| s.starts(1, 2),
        ),
        tale(
            Mark,
            "start 2 of turn 1 is not on disk",
            |s| s.works().dies().serves(2).gone(1),
            |s| s.writes(&[resumed(1, 2, 2)]).resumes(2, Resume::Crash),
            |s| s.start(1, 1, 2, None),
        ),
        tale(
            Orphan,
            "turn 1 starts beside a process of turn 1",
            |s| s.works().dies().serves(2).writes(&[resumed(1, 2, 2)]),
            |s| s.gone(1).resumes(2, Resume::Crash),
            |s| s.resumes(2, Resume::Crash),
        ),
        tale(
            Orphan,
            "turn 2 starts beside a process of turn 1",
            |s| s.works().writes(&answered()).writes(&[prompt(2, 1), opened(2, 1, &[2])]),
            |s| s.gone(1).starts(2, 1),
            |s| s.starts(2, 1),
        ),
        tale(
            Quar,
            "turn 1 starts again after 2 deaths",
            charged,
            |s| s.resumes(2, Resume::Crash),
            |s| s.resumes(2, Resume::Crash).dies().charges(3, 3).resumes(3, Resume::Crash),
        ),
        tale(
            Quar,
            "turn 1 starts again after 2 deaths",
            deadly,
            // A generation that died without it has cleared it of one, and none of fewer than one.
            |s| {
                let request = RequestId(1);
                s.serves(3).hears(vouches()).appends(vouched(request.0, 3)).writes(&[vouched(request.0, 3)]).dies();
                s.charges(4, 3).resumes(3, Resume::Crash)
            },
            |s| s.charges(3, 3).resumes(3, Resume::Crash),
        ),
        tale(
            Quar,
            "turn 1 starts again after 2 deaths",
            charged,
            // An end that was planned counts against no turn, nor does one that is on disk.
            |s| {
                s.resumes(2, Resume::Crash).writes(&[interrupted(1)]).is_cut().dies();
                s.charges(3, 3).resumes(3, Resume::Planned).writes(&[died(3)]).dies();
                s.boots(4).writes(&[begun(4)]).dies()
            },
            |s| {
                s.resumes(2, Resume::Crash).dies();
                s.charges(3, 3).resumes(3, Resume::Crash)
            },
        ),
        tale(
            Quar,
            "turn 1 starts again after 3 deaths",
            |s| {
                s.works().hears(Input::Limits(Box::new(Limits { attempts: 3, ..limits() }))).dies();
                s.charges(2, 2).resumes(2, Resume::Crash).dies().charges(3, 3).resumes(3, Resume::Crash);
                s.writes(&[interrupted(1)]).is_cut().leaves_in_order(3).boots(4).writes(&[begun(4)]).leaves_in_order(4)
            },
            // A generation without it clears it of a death, but not where the last end was planned: then nothing was charged.
            |s| s.charges(5, 4).resumes(4, Resume::Planned),
            |s| {
                s.charges(5, 4).resumes(4, Resume::Planned).dies();
                s.charges(6, 5).hears_of(2, 1).resumes(5, Resume::Crash)
            },
        ),
        tale(
            Hygiene,
            "turn 1 is told Some(Planned), and Some(Crash) is what happened",
            charged,
            |s| s.resumes(2, Resume::Crash),
            |s| s.resumes(2, Resume::Planned),
        ),
        tale(
            Hygiene,
            "turn 1 is told Some(Crash), and Some(Planned) is what happened",
            |s| s.works().writes(&[interrupted(1)]).dies().charges(2, 2),
            |s| s.resumes(2, Resume::Planned),
            |s| s.resumes(2, Resume::Crash),
        ),
        tale(
            Loop,
            "turn 1 is resumed by itself after 3 deaths in a row",
            |s| s.works().dies().serves(2).dies().serves(3).dies().charges(4, 2),
            |s| s.hears_of(2, 1).resumes(2, Resume::Crash),
            |s| s.hears_of(2, 2).resumes(2, Resume::Crash),
        ),
        tale(
            Loop,
            "turn 1 is resumed by itself after 3 deaths in a row",
            |s| s.works().dies().serves(2).dies().serves(3),
            // Two in a row are not too many, nor is what happens after the end came to the disk or before the beginning did.
            |s| {
                s.writes(&[died(3)]).dies().boots(4).dies();
                s.charges(4, 2).resumes(2, Resume::Crash)
            },
            |s| s.dies().charges(4, 2).resumes(2, Resume::Crash),
        ),
        tale(
            Loop,
            "turn 1 is resumed by itself after 3 deaths in a row",
            Seen::works,
            // A generation in which somebody has reset the breaker is none that has died unproven.
            |s| {
                s.writes(&[vouched(1, 1)]).dies().serves(2).dies().serves(3).dies();
                s.charges(4, 2).resumes(2, Resume::Crash)
            },
            |s| {
                s.dies().serves(2).dies().serves(3).dies();
                s.charges(4, 2).resumes(2, Resume::Crash)
            },
        ),
        tale(
            Loop,
            "turn 1 is resumed by itself after 3 deaths in a row",
            |s| s.works().dies().serves(2).dies().serves(3).dies().serves(4).gone(1),
            // Somebody was answered, which proves this generation.
            |s| {
                s.writes(&[prompt(2, 2), opened(2, 2, &[2])]).starts(2, 2).gone(2);
                s.writes(&[replies(1, 2), ended(2, Conclusion::Answered)]);
                s.writes(&[resumed(1, 2, 4)]).resumes(2, Resume::Crash)
            },
            |s| s.writes(&[resumed(1, 2, 4)]).resumes(2, Resume::Crash),
        ),
    ]
}

//! What all worlds of one exploration are made of, each part kept once; and what was seen to become of parts. Gateway,
//! witness and journal are values, so what one of them becomes is worked out the first time only: that few of them
//! make up very many worlds is what makes exploring fast.

use super::encode::{BEGINNING, Encoded, Encoder, Ids, Variants, namings};
use super::judgement::{Judgement, Seen};
use super::memo::{Memo, Recent};
use super::parts::{Part, Table, United, hash_of};
use super::reaction::{Beginning, Doing, Reaction, Telling};
use super::{Commit, Hands, Said, Setting, Words, World};
use crate::subject::Subject;
use evergate_core::gateway::{Pending, Phase};
use evergate_core::id::Kind;
use evergate_core::input::Input;
use evergate_core::record::Highest;
use evergate_core::recovery::Recovered;
use evergate_core::time::Instant;
use evergate_core::witness::{View, Witness};
use evergate_core::work::Item;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};

/// A gateway at a time, and what is often asked of it.
pub struct Instance<S> {
    pub(super) now: Instant,
    pub(super) subject: S,
    pub(super) timeout: Option<Instant>,
    pub(super) pending: Option<Pending>,
    phase: Phase,
    ledger: Vec<Item>,
}

impl<S: Hash> Hash for Instance<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.subject.hash(state);
    }
}

impl<S: Subject> Instance<S> {
    fn new(now: Instant, subject: S) -> Self {
        let View { phase, ledger, timeout, .. } = subject.view();
        let (ledger, pending) = (ledger.into_owned(), subject.pending());
        Self { now, subject, timeout, pending, phase, ledger }
    }

    /// The only time at which it is told this: time passes for it by being told so, up to when it wants that.
    pub(super) fn told_at(&self, input: &Input) -> Instant {
        self.timeout.filter(|_| *input == Input::Elapsed).map_or(self.now, |timeout| timeout.max(self.now))
    }

    /// What the rules about its own plans are about.
    pub(super) fn view(&self) -> View<'_> {
        let ledger = Cow::Borrowed(self.ledger.as_slice());
        View { phase: self.phase, drain: self.subject.drain(), ledger, timeout: self.timeout }
    }
}

/// A part, and what it contributes to the keys of worlds.
pub(super) struct Kept<T> {
    value: T,
    ids: Ids,
    /// The numbers of its shapes. `None` if they depend on the time.
    shapes: Option<Shapes>,
}

/// All parts of a kind, and the shapes that those with times in them had.
pub(super) struct Store<T> {
    kept: Table<Kept<T>>,
    timed: Timed<T>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { kept: Table::default(), timed: Memo::default() }
    }
}

impl<T> Store<T> {
    fn get(&self, part: Part<T>) -> &Kept<T> {
        self.kept.get(part.number())
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// With those parts only that are in use, and the number that each has then by the one it had.
    pub(super) fn sifted(self, used: &[bool]) -> (Self, Vec<u32>) {
        let (kept, numbers) = self.kept.sifted(used);
        (Self { kept, timed: Memo::default() }, numbers)
    }
}

/// The number of the bytes that stand for a part, and what becomes of them under each way of naming the sessions.
#[derive(Clone, Copy)]
struct Shapes(u32, Variants);

impl Shapes {
    /// Of no part.
    const NONE: Self = Self(u32::MAX, [0; _]);
}

/// The shapes of a part at a time.
type Timed<T> = Memo<(Part<T>, Instant), Shapes>;

type RecentlyTimed<T> = Recent<(Part<T>, Instant), Shapes>;

/// What the first of two parts becomes by the other.
type Union<A, B> = Memo<(Part<A>, Part<B>), Part<A>>;
type RecentUnion<A, B> = Recent<(Part<A>, Part<B>), Part<A>>;

/// All parts of all worlds, and what is known of them.
pub struct Memory<S: Subject> {
    pub(super) setting: Setting<S>,
    /// In how many ways the sessions can be named.
    pub(super) namings: usize,
    pub(super) subjects: Store<Instance<S>>,
    pub(super) witnesses: Store<Witness>,
    pub(super) journals: Store<Recovered>,
    pub(super) commits: Store<Commit>,
    pub(super) said: Store<Words>,
    pub(super) hands: Store<Hands>,
    pub(super) shapes: Table<Box<[u8]>>,
    pub(super) doings: Table<Doing>,
    pub(super) inputs: Table<Input>,
    pub(super) begun: Memo<Beginning, Reaction<S>>,
    pub(super) reactions: Memo<Telling<S>, Reaction<S>>,
    pub(super) judgements: Memo<Seen, Judgement>,
    pub(super) applied: Union<Recovered, Commit>,
    pub(super) gathered: Union<Commit, Commit>,
}

impl<S: Subject> Memory<S> {
    /// Of no world yet.
    #[must_use]
    pub fn new(setting: Setting<S>) -> Self {
        let memory = Self {
            namings: namings(setting.budget.sessions.min(setting.budget.messages)),
            setting,
            subjects: Store::default(),
            witnesses: Store::default(),
            journals: Store::default(),
            commits: Store::default(),
            said: Store::default(),
            hands: Store::default(),
            shapes: Table::default(),
            doings: Table::default(),
            inputs: Table::default(),
            begun: Memo::default(),
            reactions: Memo::default(),
            judgements: Memo::default(),
            applied: Memo::default(),
            gathered: Memo::default(),
        };
        let nothing = memory.keep(&memory.commits, &mut Encoder::default(), Commit::default(), |_| ());
        debug_assert!(nothing == Self::NOTHING, "the first that is kept has the first number");
        memory
    }

    /// A commit without records.
    pub(super) const NOTHING: Part<Commit> = Part::numbered(0);

    pub(super) fn instance(&self, part: Part<Instance<S>>) -> &Instance<S> {
        &self.subjects.get(part).value
    }

    pub(super) fn witness(&self, part: Part<Witness>) -> &Witness {
        &self.witnesses.get(part).value
    }

    pub(super) fn journal(&self, part: Part<Recovered>) -> &Recovered {
        &self.journals.get(part).value
    }

    pub(super) fn commit(&self, part: Part<Commit>) -> &Commit {
        &self.commits.get(part).value
    }

    pub(super) fn said(&self, part: Part<Words>) -> &[Said] {
        &self.said.get(part).value.0
    }

    pub(super) fn hands(&self, part: Part<Hands>) -> &Hands {
        &self.hands.get(part).value
    }

    pub(super) fn input(&self, part: Part<Input>) -> &Input {
        self.inputs.get(part.number())
    }

    pub(super) fn doing(&self, number: u32) -> &Doing {
        self.doings.get(number)
    }

    /// Keeps a value; of one that is not known yet the large parts become one with those that are.
    pub(super) fn keep<T: Clone + Hash + Eq>(
        &self,
        store: &Store<T>,
        encoder: &mut Encoder,
        mut value: T,
        unite: impl FnOnce(&mut T),
    ) -> Part<T> {
        let hash = hash_of(&value);
        if let Some(number) = store.kept.find(hash, |kept| kept.value == value) {
            return Part::numbered(number);
        }
        let mut encoded = encoder.encode(BEGINNING, &value);
        let ids = encoded.ids;
        let shapes = (!encoded.timed).then(|| self.shapes(&mut encoded));
        unite(&mut value);
        // A copy holds no more memory than it needs.
        let value = value.clone();
        Part::numbered(store.kept.add(hash, Kept { value, ids, shapes }, |known, new| known.value == new.value))
    }

    /// Keeps a gateway.
    pub(super) fn keep_instance(
        &self,
        (encoder, united): (&mut Encoder, &mut United),
        now: Instant,
        mut subject: S,
    ) -> Part<Instance<S>> {
        let hash = hash_of(&(now, &subject));
        let same = |now: Instant, subject: &S, kept: &Kept<Instance<S>>| {
            kept.value.now == now && kept.value.subject == *subject
        };
        if let Some(number) = self.subjects.kept.find(hash, |kept| same(now, &subject, kept)) {
            return Part::numbered(number);
        }
        let mut encoded = encoder.encode(now, &subject);
        let (ids, shapes) = (encoded.ids, Some(self.shapes(&mut encoded)));
        subject.unite(united);
        let value = Instance::new(now, subject.clone());
        let kept = Kept { value, ids, shapes };
        Part::numbered(self.subjects.kept.add(hash, kept, |known, new| same(new.value.now, &new.value.subject, known)))
    }

    fn shapes(&self, encoded: &mut Encoded<'_>) -> Shapes {
        let (bytes, variants) = encoded.least(self.namings);
        let hash = hash_of(bytes);
        let known = self.shapes.find(hash, |known| **known == *bytes);
        let shape = known.unwrap_or_else(|| self.shapes.add(hash, bytes.into(), |known, new| known == new));
        Shapes(shape, variants)
    }

    /// Of the ways to name the sessions the one that comes first with these parts, so that worlds that differ in what sessions
    /// are called come to the same.
    fn naming(&self, parts: &[(Shapes, &Ids)]) -> usize {
        let variants = |naming: usize| parts.iter().map(move |(shapes, _)| shapes.1[naming]);
        (1..self.namings).fold(0, |best, other| if variants(other).lt(variants(best)) { other } else { best })
    }

    /// What a part contributes to the key of a world.
    fn contribution<'a, T: Hash>(
        &self,
        store: &'a Store<T>,
        (encoder, recent): (&mut Encoder, &mut RecentlyTimed<T>),
        now: Instant,
        part: Part<T>,
    ) -> (Shapes, &'a Ids) {
        let kept = store.get(part);
        let shapes = kept.shapes.unwrap_or_else(|| {
            store.timed.recall(recent, &(part, now)).unwrap_or_else(|| {
                let shapes = self.shapes(&mut encoder.encode(now, &kept.value));
                store.timed.add((part, now), shapes)
            })
        });
        (shapes, &kept.ids)
    }
}

impl<S: Subject> World<S> {
    /// Why the last ids need not be in a key: whatever is given next is above all that are in use, however far.
    fn ids_are_given_in_order(&self, memory: &Memory<S>, all: &[&Ids]) {
        let Highest { message, turn, delivery, request, question, .. } = memory.journal(self.durable).highest;
        let lasts = if self.subject.is_some() {
            vec![(Kind::Message, self.last_message.0), (Kind::Request, self.last_request.0)]
        } else {
            vec![
                (Kind::Message, message.0),
                (Kind::Request, request.0),
                (Kind::Turn, turn.0),
                (Kind::Delivery, delivery.0),
                (Kind::Question, question.0),
            ]
        };
        for (kind, last) in lasts {
            let highest = all.iter().filter_map(|ids| ids.highest(kind)).max();
            assert!(highest <= Some(last), "{kind:?} {highest:?} is in use, and the last that was given is {last}");
        }
    }
}

/// What one thread has at hand while it explores.
pub struct Desk<'m, S: Subject> {
    pub(super) memory: &'m Memory<S>,
    pub(super) encoder: Encoder,
    pub(super) united: United,
    key: Vec<u8>,
    pub(super) inputs: Recent<Input, Part<Input>>,
    pub(super) begun: Recent<Beginning, Reaction<S>>,
    pub(super) reactions: Recent<Telling<S>, Reaction<S>>,
    pub(super) judgements: Recent<Seen, Judgement>,
    applied: RecentUnion<Recovered, Commit>,
    gathered: RecentUnion<Commit, Commit>,
    timed: RecentShapes<S>,
}

/// Shapes of parts at a time, of each kind of parts.
type RecentShapes<S> = (
    RecentlyTimed<Instance<S>>,
    RecentlyTimed<Witness>,
    RecentlyTimed<Recovered>,
    RecentlyTimed<Commit>,
    RecentlyTimed<Words>,
    RecentlyTimed<Hands>,
);

impl<'m, S: Subject> Desk<'m, S> {
    /// With nothing on it.
    #[must_use]
    pub fn new(memory: &'m Memory<S>) -> Self {
        Self::with(memory, United::default())
    }

    /// With nothing on it but what kept parts share.
    #[must_use]
    pub fn with(memory: &'m Memory<S>, united: United) -> Self {
        Self {
            memory,
            encoder: Encoder::default(),
            united,
            key: Vec::new(),
            inputs: Recent::default(),
            begun: Recent::default(),
            reactions: Recent::default(),
            judgements: Recent::default(),
            applied: Recent::default(),
            gathered: Recent::default(),
            timed: Default::default(),
        }
    }

    /// What kept parts share, as this thread has met it.
    #[must_use]
    pub fn into_united(self) -> United {
        self.united
    }

    /// What all threads share.
    #[must_use]
    pub const fn memory(&self) -> &'m Memory<S> {
        self.memory
    }

    /// The bytes of a world: the same if and only if two worlds differ in nothing that matters.
    pub fn key(&mut self, world: &World<S>) -> &[u8] {
        let Self { memory, encoder, key, timed, .. } = self;
        // All fields by their names, so that none can be forgotten. How old the world is is only told, and the last ids matter only
        // in what is given after them: see below.
        #[rustfmt::skip]
        let World {
            now, earlier: _, process, subject, phase, durable, flying, gathering, said, hands, opening, supervisor_asked,
            candidate_checked, stop_job, alone, heard, signal_waits, wanted, guard, last_message: _, last_request: _, left,
            witness,
        } = *world;
        let rest = (
            (process, phase, opening, supervisor_asked, candidate_checked, stop_job, signal_waits, wanted),
            ((alone, heard), guard, left),
        );
        let mut encoded = encoder.encode(now, &rest);
        debug_assert!(!encoded.has_sessions(), "the parts alone are named together");
        let rest = encoded.ids;
        key.clear();
        key.extend_from_slice(encoded.bytes());
        let (subjects, witnesses, journals, commits, words, hold) = timed;
        let parts = [
            subject.map_or((Shapes::NONE, &Ids::NONE), |part| {
                memory.contribution(&memory.subjects, (&mut *encoder, subjects), now, part)
            }),
            memory.contribution(&memory.witnesses, (&mut *encoder, witnesses), now, witness),
            memory.contribution(&memory.journals, (&mut *encoder, journals), now, durable),
            memory.contribution(&memory.commits, (&mut *encoder, &mut *commits), now, flying),
            memory.contribution(&memory.commits, (&mut *encoder, commits), now, gathering),
            memory.contribution(&memory.said, (&mut *encoder, words), now, said),
            memory.contribution(&memory.hands, (&mut *encoder, hold), now, hands),
        ];
        let naming = memory.naming(&parts);
        for (Shapes(shape, variants), _) in &parts {
            key.extend_from_slice(&shape.to_le_bytes());
            key.extend((memory.namings > 1).then_some(variants[naming]));
        }
        let [a, b, c, d, e, f, g] = parts.map(|(_, ids)| ids);
        let all = [&rest, a, b, c, d, e, f, g];
        if cfg!(debug_assertions) {
            world.ids_are_given_in_order(memory, &all);
        }
        Ids::between(&all, key);
        key
    }

    pub(super) fn first_witness(&mut self) -> Part<Witness> {
        let Setting { limits, contract, .. } = &self.memory.setting;
        let witness = Witness::new(limits.clone(), *contract);
        self.memory.keep(&self.memory.witnesses, &mut self.encoder, witness, |_| ())
    }

    /// A gateway as it is at a later time.
    pub(super) fn later(&mut self, now: Instant, part: Part<Instance<S>>) -> Part<Instance<S>> {
        let memory = self.memory;
        memory.keep_instance((&mut self.encoder, &mut self.united), now, memory.instance(part).subject.clone())
    }

    pub(super) fn keep_journal(&mut self, journal: Recovered) -> Part<Recovered> {
        self.memory.keep(&self.memory.journals, &mut self.encoder, journal, |_| ())
    }

    pub(super) fn keep_said(&mut self, said: Vec<Said>) -> Part<Words> {
        self.memory.keep(&self.memory.said, &mut self.encoder, Words(said), |_| ())
    }

    pub(super) fn keep_hands(&mut self, hands: Hands) -> Part<Hands> {
        self.memory.keep(&self.memory.hands, &mut self.encoder, hands, |_| ())
    }

    pub(super) fn keep_commit(&mut self, commit: Commit) -> Part<Commit> {
        self.memory.keep(&self.memory.commits, &mut self.encoder, commit, |_| ())
    }

    /// What gathers when more is appended to it.
    pub(super) fn gather(&mut self, of: Part<Commit>, more: Part<Commit>) -> Part<Commit> {
        if of == Memory::<S>::NOTHING {
            return more;
        }
        let (memory, key) = (self.memory, (of, more));
        memory.gathered.recall(&mut self.gathered, &key).unwrap_or_else(|| {
            let (mut commit, more_of) = (memory.commit(of).clone(), memory.commit(more));
            commit.records.extend_from_slice(&more_of.records);
            memory.gathered.add(key, self.keep_commit(commit))
        })
    }

    /// What the journal is once a commit is on disk.
    pub(super) fn apply(&mut self, journal: Part<Recovered>, commit: Part<Commit>) -> Part<Recovered> {
        let (memory, key) = (self.memory, (journal, commit));
        memory.applied.recall(&mut self.applied, &key).unwrap_or_else(|| {
            let mut durable = memory.journal(journal).clone();
            memory.commit(commit).records.iter().for_each(|record| durable.apply(record));
            memory.applied.add(key, self.keep_journal(durable))
        })
    }
}

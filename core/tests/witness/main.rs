//! The specification checked, sentence by sentence: for each sentence with which the witness finds something broken there is
//! a short tale that breaks this sentence and no other, and beside it one that goes the same way and breaks none. A sentence
//! that is in the witness and in no tale fails the test, so that none is added that cannot fail.

mod deliveries;
mod effects;
mod ends;
mod plans;
mod records;
mod requests;
mod seen;
mod sentences;
mod turns;
mod words;

use evergate_core::invariant::Invariant;
use seen::Seen;
use std::collections::BTreeMap;

/// Something that happens.
type Step = fn(&mut Seen) -> &mut Seen;

/// A tale with two endings.
struct Tale {
    rule: Invariant,
    /// What is found in the bad one.
    found: &'static str,
    before: Step,
    kept: Step,
    broken: Step,
}

/// Before is what both endings begin with.
const fn tale(rule: Invariant, found: &'static str, before: Step, kept: Step, broken: Step) -> Tale {
    Tale { rule, found, before, kept, broken }
}

fn tales() -> Vec<Tale> {
    let mut tales = effects::tales();
    tales.extend(deliveries::tales());
    tales.extend(deliveries::tales_of_records());
    tales.extend(deliveries::tales_of_arrivals());
    tales.extend(ends::tales());
    tales.extend(turns::tales());
    tales.extend(turns::tales_of_what_is_told());
    tales.extend(words::tales());
    tales.extend(requests::tales());
    tales.extend(requests::tales_of_questions());
    tales.extend(plans::tales());
    tales.extend(plans::tales_of_rest());
    tales
}

fn told(before: Step, ending: Step) -> Seen {
    let mut seen = Seen::nothing();
    ending(before(&mut seen));
    seen
}

#[test]
fn each_tale_breaks_one_sentence_and_its_other_ending_none() {
    let mut wrong = Vec::new();
    for Tale { rule, found, before, kept, broken } in tales() {
        if let Some(violation) = told(before, kept).checks.broken() {
            wrong.push(format!("{rule}: {found}\n   is broken by its good ending: {violation}"));
        }
        let seen = told(before, broken);
        match seen.checks.broken() {
            Some(violation) if violation.invariant == rule && violation.what == found => {
                if seen.checks.failed() != 1 {
                    wrong.push(format!("{rule}: {found}\n   is not all: {} rules were broken", seen.checks.failed()));
                }
            }
            other => wrong.push(format!("{rule}: {found}\n   was not found, but {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_nothing_was_promised_nothing_is_looked_at_at_rest() {
    let looked = |before: Step| told(before, |seen| seen.rests()).checks.looked_at().collect::<Vec<_>>();
    assert_eq!(looked(|seen| seen), []);
    let more = looked(|seen| seen.works().gone(1).writes(&records::answered()));
    assert!([Invariant::Ack, Invariant::Reply].iter().all(|rule| more.contains(rule)), "{more:?}");
}

#[test]
fn each_sentence_of_the_witness_has_its_tale() {
    let sentences = sentences::all();
    assert!(sentences.len() > 90, "the sources are read as they are written: {} sentences", sentences.len());
    let mut tales_of: BTreeMap<usize, usize> = BTreeMap::new();
    for Tale { rule, found, .. } in tales() {
        let fits = sentences.iter().enumerate().filter(|(_, sentence)| sentence.says(rule, found));
        let closest = fits.max_by_key(|(_, sentence)| sentence.own_words()).map(|(index, _)| index);
        *tales_of.entry(closest.unwrap_or_else(|| panic!("no sentence says {found:?} of {rule}"))).or_default() += 1;
    }
    let untold: Vec<String> = sentences
        .iter()
        .enumerate()
        .filter(|(index, _)| !tales_of.contains_key(index))
        .map(|(_, sentence)| sentence.to_string())
        .collect();
    assert!(untold.is_empty(), "nothing shows that these can fail:\n{}", untold.join("\n"));
    let twice: Vec<String> = (1..sentences.len())
        .filter(|index| sentences[..*index].iter().any(|earlier| earlier == &sentences[*index]))
        .map(|index| sentences[index].to_string())
        .collect();
    assert!(twice.is_empty(), "these cannot be told apart:\n{}", twice.join("\n"));
}

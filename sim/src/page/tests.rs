use super::*;
use crate::story::{Broken, Lane};

fn moment(at_ms: u64, lane: Lane, kind: Kind, what: &str) -> Moment {
    Moment { at_ms, generation: 1, lane, kind, what: what.into(), detail: format!("detail of {what}") }
}

fn life() -> Story {
    Story {
        title: "a life".into(),
        setting: "{\"seed\":7}".into(),
        moments: vec![
            moment(0, Lane::Gateway, Kind::Begin, "generation 1 begins"),
            moment(2, Lane::Session(12), Kind::Begin, "turn 4 starts"),
            moment(2, Lane::Disk, Kind::Effect, "3 records synced"),
            moment(2, Lane::Session(3), Kind::Input, "message 9 arrives"),
            moment(30_002, Lane::Supervisor, Kind::Fault, "kill -9"),
            moment(30_002, Lane::Gateway, Kind::End, "generation 1 ends"),
        ],
        broken: None,
    }
}

/// The places of all these in the page, which must hold each.
fn order(page: &str, texts: &[&str]) -> Vec<usize> {
    texts.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("the page does not hold {text}"))).collect()
}

#[test]
fn a_text_of_a_story_never_becomes_markup() {
    let bad = r#"<script>alert("1")</script><!-- '&' --></span></pre></title>"#;
    let mut story = life();
    story.title = bad.into();
    story.setting = bad.into();
    story.moments.push(Moment { detail: bad.into(), ..moment(40_000, Lane::People, Kind::Input, bad) });
    story.broken = Some(Broken { invariant: bad.into(), what: bad.into() });
    let (page, clean) = (draw(&story), draw(&Story { broken: None, ..life() }));
    assert_eq!(page.matches("<script").count(), clean.matches("<script").count());
    for tag in ["<!--", "alert(\"", "'&'"] {
        assert!(!page.contains(tag), "{tag}");
    }
    let escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;!-- &#39;&amp;&#39; --&gt;";
    // Title, heading, setting, banner twice, flag, mark, row and detail.
    assert_eq!(page.matches(escaped).count(), 9);
}

#[test]
fn each_moment_is_a_mark_and_a_row_with_all_its_texts() {
    let (story, page) = (life(), draw(&life()));
    for (number, moment) in story.moments.iter().enumerate() {
        let kind = moment.kind.word();
        assert_eq!(page.matches(&format!(r#"<button id="m{number}" class="moment {kind}"#)).count(), 1, "{number}");
        assert_eq!(page.matches(&format!(r#"<li id="r{number}" class="{kind}""#)).count(), 1, "{number}");
        assert!(page.contains(&format!("hidden>{}</span>", moment.detail)), "{number}");
        assert_eq!(page.matches(&format!("<span>{}</span>", moment.what)).count(), 2, "{number}");
    }
    assert_eq!(page.matches("<button id=\"m").count(), story.moments.len());
    assert!(page.contains(r#"<b>+30 s</b>"#));
    assert!(page.contains(">0:30.002</time>"));
}

#[test]
fn lanes_stand_in_order_with_each_session_once_and_marks_in_their_own_lane() {
    let page = draw(&life());
    let lanes = ["people", "session 3", "session 12", "gateway", "disk", "supervisor"];
    let labels = lanes.map(|lane| format!(r#"role="group" aria-label="{lane}""#));
    let places = order(&page, &labels.each_ref().map(String::as_str));
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(page.matches(r#"<div class="lane"#).count(), lanes.len());
    let marks =
        order(&page, &[&labels[1], r#"id="m3""#, &labels[2], r#"id="m1""#, &labels[3], r#"id="m0""#, r#"id="m5""#]);
    assert!(marks.is_sorted(), "{marks:?}");
}

#[test]
fn bands_are_numbered_in_the_gateways_lane_and_a_cut_turn_is_seen() {
    let page = draw(&life());
    assert_eq!(page.matches("<b><span>generation </span>1</b>").count(), 1);
    assert_eq!(page.matches(r#"class="band""#).count(), 1);
    assert_eq!(page.matches(r#"class="band cut""#).count(), 1);
}

#[test]
fn the_broken_rule_is_named_at_the_top_and_marked_at_the_last_moment() {
    let mut story = life();
    assert!(draw(&story).contains("No rule broke."));
    assert!(!draw(&story).contains(r#"class="flag""#));
    story.broken = Some(Broken { invariant: "ACK".into(), what: "message 9 is lost".into() });
    let page = draw(&story);
    assert!(page.contains("BROKEN <b>ACK</b></strong> <span>message 9 is lost</span>"));
    assert!(page.contains(r#"<i class="broken" style="--c:5;--g:3">"#));
    assert!(page.contains(r#"<strong class="flag" style="--c:5;--g:3">ACK broken</strong>"#));
}

#[test]
fn the_setting_is_folded_away_where_there_is_one() {
    let folded = "<details><summary>setting</summary><pre>{&quot;seed&quot;:7}</pre></details>";
    assert!(draw(&life()).contains(folded));
    assert!(!draw(&Story { setting: String::new(), ..life() }).contains("<details"));
}

#[test]
fn the_same_story_is_the_same_page() {
    assert_eq!(draw(&life()), draw(&life()));
}

#[test]
fn a_page_asks_nobody_for_anything() {
    let page = draw(&life());
    for reference in ["http://", "https://", "src=", "url(", "@import", "fetch("] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn an_empty_story_is_a_page_that_says_so() {
    let mut story = Story { title: "explore".into(), ..Story::default() };
    assert!(draw(&story).contains("Nothing happened"));
    assert!(!draw(&story).contains("<script"));
    story.broken = Some(Broken { invariant: "FINITE".into(), what: "the first state".into() });
    assert!(draw(&story).contains("BROKEN <b>FINITE</b>"));
}

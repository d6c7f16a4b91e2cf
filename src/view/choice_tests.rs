use super::*;
use crate::model::event::{Event, Outcome, RunStarted, Test, What};

fn happens(view: &mut View, what: What) {
    view.take(Sight::Event(Event { at: 0.0, what }), 0.0);
}

fn with(workers: u32, failures: u32) -> View {
    let mut view = View::default();
    happens(&mut view, What::RunStarted(Box::new(RunStarted { workers, ..RunStarted::default() })));
    happens(&mut view, What::Leased { machine: 0, name: "one".into(), workers });
    for index in 0..failures {
        let id = format!("test_a.py::test_{index}");
        let outcome = Outcome::Failed;
        let test =
            Test { worker: 0, file: 0, index, id, outcome, phases: vec![], reruns: 0, stale: false, failure: None };
        happens(&mut view, What::Test(Box::new(test)));
    }
    view
}

fn press(view: &mut View, keys: &[Key]) {
    for key in keys {
        assert_eq!(view.press(*key), Wish::Stay);
    }
}

#[test]
fn keys_choose_within_the_list_that_has_the_focus() {
    let mut view = with(4, 2);
    press(&mut view, &[Key::Down, Key::Char('j'), Key::Up]);
    assert_eq!((view.focus, view.workers.row), (Pane::Workers, 1));
    press(&mut view, &[Key::End, Key::Down]);
    assert_eq!(view.workers.row, 3);
    press(&mut view, &[Key::Tab, Key::Down, Key::Down]);
    assert_eq!((view.focus, view.failures.row, view.workers.row), (Pane::Failures, 1, 3));
    press(&mut view, &[Key::Tab, Key::BackTab, Key::BackTab, Key::Home]);
    assert_eq!((view.focus, view.workers.row), (Pane::Workers, 0));
    press(&mut view, &[Key::Char('m')]);
    assert_eq!(view.focus, Pane::Machines);
}

#[test]
fn a_text_is_opened_and_scrolled_and_closed() {
    let mut view = with(1, 2);
    press(&mut view, &[Key::Char('f'), Key::Enter]);
    assert!(view.opened);
    // A traceback begins at its top, and goes no further than its end.
    assert_eq!(view.scroll.fit(100, 10), 0);
    press(&mut view, &[Key::PageDown]);
    assert_eq!((view.scroll.fit(100, 10), view.failures.row), (9, 0));
    press(&mut view, &[Key::End]);
    // What comes later is followed from there.
    assert_eq!((view.scroll.fit(100, 10), view.scroll.fit(120, 10)), (90, 110));
    press(&mut view, &[Key::Up]);
    assert_eq!(view.scroll.fit(140, 10), 109);
    press(&mut view, &[Key::Char('n')]);
    assert_eq!((view.failures.row, view.scroll.fit(50, 10)), (1, 0));
    press(&mut view, &[Key::Escape]);
    assert!(!view.opened);
    press(&mut view, &[Key::Char('w')]);
    assert_eq!(view.scroll.fit(50, 10), 40, "a log is read at its end");
}

#[test]
fn nothing_opens_where_nothing_is() {
    let mut view = with(1, 0);
    press(&mut view, &[Key::Char('f'), Key::Down, Key::Enter]);
    assert!(!view.opened);
    press(&mut view, &[Key::Char('w'), Key::Enter, Key::Char('f')]);
    assert!(!view.opened);
}

#[test]
fn help_is_closed_by_any_key() {
    let mut view = with(2, 0);
    press(&mut view, &[Key::Char('?')]);
    assert!(view.help);
    press(&mut view, &[Key::Down]);
    assert!(!view.help && view.workers.row == 0);
    assert_eq!(view.press(Key::Char('q')), Wish::Leave);
}

#[test]
fn the_row_that_is_chosen_stays_on_the_screen() {
    let mut chosen = Chosen { row: 7, ..Chosen::default() };
    chosen.fit(100, 5);
    assert_eq!(chosen.top, 3);
    chosen.row = 5;
    chosen.fit(100, 5);
    assert_eq!(chosen.top, 3);
    chosen.row = 1;
    chosen.fit(100, 5);
    assert_eq!(chosen.top, 1);
    // With more room the screen is filled.
    chosen.row = 99;
    chosen.fit(100, 5);
    chosen.fit(100, 50);
    assert_eq!(chosen.top, 50);
    chosen.fit(0, 5);
    assert_eq!((chosen.row, chosen.top), (0, 0));
}

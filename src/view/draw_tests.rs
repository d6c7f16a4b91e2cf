use ratatui::style::{Color, Modifier};

use super::*;
use crate::{
    model::{
        event::{Event, Outcome, Phase, RunStarted, Test, What},
        live::{Figures, Sight, Speaker, Work},
    },
    view::Key,
};

const PLAIN: Palette = Palette { colours: false, unicode: true };

fn happens(view: &mut View, at: f64, what: What) {
    view.take(Sight::Event(Event { at, what }), at);
}

fn failed(worker: u32, id: &str, text: &str) -> What {
    What::Test(Box::new(Test {
        worker,
        file: 0,
        index: 0,
        id: id.into(),
        outcome: Outcome::Failed,
        phases: vec![Phase("call".into(), 0.0, 1.25)],
        reruns: 0,
        stale: false,
        failure: Some(text.into()),
    }))
}

/// Two machines with two workers each; one is ready and has a failure, the other is on its way.
fn run() -> View {
    let mut view = View::default();
    let begun = RunStarted { provider: "ec2".into(), mode: "test".into(), workers: 6, ..RunStarted::default() };
    happens(&mut view, 0.0, What::RunStarted(Box::new(begun)));
    view.take(Sight::Note("asking for 3 machines".into()), 0.1);
    for (machine, name) in [(0, "i-0001"), (1, "i-0002")] {
        happens(&mut view, 1.0, What::Leased { machine, name: name.into(), workers: 2 });
        let (instance_type, zone) = ("c7i.large".into(), "us-east-1a".into());
        view.take(Sight::Machine { machine, instance_type, zone, per_hour: 0.04, lease: 900 }, 1.0);
    }
    happens(&mut view, 2.0, What::Stage { machine: 1, stage: "init".into() });
    let platform = "x86_64".into();
    let steps = Vec::new();
    happens(&mut view, 2.0, What::Prepared { machine: 0, platform, cpus: 2, init_cached: false, steps, sent: 0 });
    for worker in [0, 1] {
        happens(&mut view, 2.5, What::WorkerUp { worker, machine: 0 });
    }
    happens(
        &mut view,
        4.0,
        failed(0, "tests/test_a.py::test_bad", "    def test_bad():\n>       assert 0\nE       assert 0"),
    );
    view.take(Sight::At(vec![(1, Some(Work::Test("tests/test_b.py::test_slow[x]".into())))]), 5.0);
    view.take(Sight::Charges(vec![(0, 0.0123)]), 5.0);
    let figures = Figures {
        done: 1,
        failed: 1,
        total: 4,
        complete: true,
        left: Some(75.0),
        dollars: Some(0.02),
        ..Figures::default()
    };
    view.take(Sight::Figures(figures), 5.0);
    view
}

fn drawn(view: &mut View, (width, height): (u16, u16), palette: Palette) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    view.draw(17.0, palette, &mut buffer);
    buffer
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let Rect { width, height, .. } = buffer.area;
    let row = |y| {
        let mut text = String::new();
        let mut skip = 0;
        for x in 0..width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                text.push_str(symbol);
                skip = width_of(symbol);
            }
            skip = usize::saturating_sub(skip, 1);
        }
        text.trim_end().to_owned()
    };
    (0..height).map(row).collect()
}

fn width_of(symbol: &str) -> usize {
    width(symbol).max(1)
}

fn shown(view: &mut View, size: (u16, u16)) -> Vec<String> {
    rows(&drawn(view, size, PLAIN))
}

fn row_with<'a>(rows: &'a [String], part: &str) -> &'a str {
    rows.iter().find(|row| row.contains(part)).unwrap_or_else(|| panic!("no {part:?} in\n{}", rows.join("\n")))
}

#[test]
fn all_of_a_run_is_on_a_screen_of_eighty_columns() {
    let rows = shown(&mut run(), (80, 24));
    assert_eq!(rows[0], format!("cloudist  6 workers on ec2, mode test{}0:17", " ".repeat(39)));
    assert!(rows[1].ends_with("  25%  1 of 4 tests  1 failed  1m 15s left  $0.020"), "{}", rows[1]);
    assert!(rows[1].starts_with("█████░░░"), "{}", rows[1]);
    assert_eq!(
        row_with(&rows, "i-0001 ready"),
        "  i-0001 ready            2 workers  $0.012  c7i.large us-east-1a  lease 15m 00s"
    );
    assert_eq!(row_with(&rows, "i-0002 init").split_once("2 workers").unwrap().0, "  i-0002 init 15s         ");
    assert_eq!(row_with(&rows, "gw1  "), "  gw1   i-0001     0✓        0:12 tests/test_b.py::test_slow[x]");
    assert_eq!(row_with(&rows, "gw0   i"), "  gw0   i-0001     1✓   1✗        waiting");
    assert_eq!(row_with(&rows, "gw2   "), "  gw2   i-0002     0✓             starting");
    assert_eq!(row_with(&rows, "test_bad"), "  failed  gw0    tests/test_a.py::test_bad");
    assert!(row_with(&rows, "Machines").starts_with("─ Machines: 1 of 2 ready ──"));
    assert!(row_with(&rows, "Workers:").starts_with("▸ Workers: 1 of 2 busy ──"));
    assert_eq!(rows[23], "↑↓ choose  Tab list  Enter open  q leave  ? help");
}

#[test]
fn on_a_wide_screen_the_traceback_stands_beside_the_lists() {
    let mut view = run();
    view.press(Key::Char('f'));
    let rows = shown(&mut view, (160, 50));
    let right: Vec<&str> = rows.iter().filter_map(|row| row.split_once('│')).map(|(_, right)| right).collect();
    assert!(right[0].starts_with("▸ Failures: 1 ──"));
    assert!(right.contains(&"failed on gw0, 1.25 s"), "{right:?}");
    assert!(right.contains(&"E       assert 0"), "{right:?}");
    view.press(Key::Char('m'));
    view.take(Sight::Said { machine: 0, speaker: Speaker::Init, text: "building it\n".into() }, 18.0);
    view.take(Sight::Said { machine: 0, speaker: Speaker::Worker(1), text: "from \x1b[1mC\n".into() }, 18.0);
    let rows = shown(&mut view, (160, 50));
    row_with(&rows, "│─ Log of i-0001");
    row_with(&rows, "│ready, 2 workers, x86_64, 2 CPUs, c7i.large in us-east-1a, $0.040 an hour");
    row_with(&rows, "│building it");
    row_with(&rows, "│gw1 from C");
}

#[test]
fn a_small_screen_shows_one_list_at_a_time() {
    let mut view = run();
    let rows = shown(&mut view, (40, 12));
    assert!(rows[2].starts_with("▸ Workers"), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("Machines")));
    assert_eq!(row_with(&rows, "gw1"), "  gw1       0✓        0:12 …test_slow[x]");
    assert!(rows.iter().all(|row| width(row) <= 40));
    view.press(Key::Char('f'));
    view.press(Key::Enter);
    let rows = shown(&mut view, (40, 12));
    row_with(&rows, "E       assert 0");
    assert_eq!(rows[11], "↑↓ scroll  p n before, after  Esc back");
    for size in [(30, 8), (29, 8), (30, 7), (1, 1)] {
        shown(&mut view, size);
    }
    assert_eq!(shown(&mut view, (29, 8))[0], "the view needs 30x8");
}

#[test]
fn of_very_many_workers_those_around_the_chosen_one_are_shown() {
    let mut view = View::default();
    happens(&mut view, 0.0, What::RunStarted(Box::new(RunStarted { workers: 3000, ..RunStarted::default() })));
    for machine in 0..750 {
        happens(&mut view, 0.0, What::Leased { machine, name: format!("m{machine}"), workers: 4 });
    }
    view.press(Key::End);
    let rows = shown(&mut view, (80, 24));
    row_with(&rows, "gw2999");
    assert!(row_with(&rows, "Workers").ends_with("3000 of 3000 ─"));
    assert!(row_with(&rows, "Machines").ends_with("1 of 750 ─"));
    view.press(Key::Home);
    row_with(&shown(&mut view, (80, 24)), "gw0 ");
}

#[test]
fn long_and_wide_names_are_cut_where_they_end() {
    let mut view = run();
    let id = format!("tests/{}.py::test_終わり", "長い名前".repeat(40));
    view.take(Sight::At(vec![(0, Some(Work::Test(id.clone())))]), 16.0);
    happens(&mut view, 16.0, failed(0, &id, "x"));
    for size in [(80, 24), (40, 12), (160, 50)] {
        let rows = shown(&mut view, size);
        assert!(row_with(&rows, "✓").contains("…"), "{size:?}");
        assert!(row_with(&rows, "✓").contains("test_終わり"), "{size:?}");
        let wide = rows.iter().find(|row| width(row) > size.0 as usize);
        assert_eq!(wide, None, "{size:?}");
    }
}

#[test]
fn machines_that_come_and_go_say_so() {
    let mut view = View::default();
    let begun = RunStarted { provider: "ec2".into(), workers: 4, ..RunStarted::default() };
    happens(&mut view, 0.0, What::RunStarted(Box::new(begun)));
    view.take(Sight::Note("2 spot machines asked for".into()), 0.1);
    row_with(&shown(&mut view, (80, 24)), "  launching, for 4 workers: 2 spot machines asked for");
    happens(&mut view, 1.0, What::Leased { machine: 0, name: "a".into(), workers: 4 });
    assert!(!shown(&mut view, (80, 24)).iter().any(|row| row.contains("launching")));
    for (stage, word) in
        [("connect", "connecting"), ("boot", "booting"), ("sync", "syncing"), ("environment", "environment")]
    {
        happens(&mut view, 10.0, What::Stage { machine: 0, stage: stage.into() });
        row_with(&shown(&mut view, (80, 24)), &format!("a {word} 7s"));
    }
    happens(&mut view, 10.0, What::MachineLeaving { machine: 0, within: 120.0 });
    row_with(&shown(&mut view, (80, 24)), "leaves in 1m 53s");
    happens(&mut view, 11.0, What::MachineGone { machine: 0, reason: Some("the network failed".into()) });
    let rows = shown(&mut view, (80, 24));
    row_with(&rows, "a lost             the network failed");
    assert!(row_with(&rows, "gw3").ends_with("over"));
    row_with(&rows, "launching, for 4 workers");
}

#[test]
fn colours_and_marks_are_for_those_who_have_them() {
    let coloured = drawn(&mut run(), (80, 24), Palette { colours: true, unicode: true });
    assert!(coloured.content.iter().any(|cell| cell.fg == Color::Red));
    let plain = drawn(&mut run(), (80, 24), PLAIN);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    let ascii = drawn(&mut run(), (80, 24), Palette { colours: false, unicode: false });
    assert!(ascii.content.iter().all(|cell| cell.symbol().is_ascii()));
    assert!(rows(&ascii)[1].starts_with("#####---"));
}

#[test]
fn keys_are_told() {
    let mut view = run();
    view.press(Key::Char('?'));
    let rows = shown(&mut view, (80, 24));
    row_with(&rows, "q                leave the view: the run goes on, with lines");
    assert_eq!(rows[23], "any key back  q leave");
    let rows = shown(&mut view, (40, 12));
    assert_eq!(
        rows[3..6],
        ["up down j k choose; in a text, scroll", "PgUp PgDn g G a page, the beginning, the", "               end"]
    );
}

#[test]
fn a_command_on_all_workers_is_told_in_its_own_words() {
    let mut view = View::default();
    let command = vec!["make".into(), "a b".into()];
    let begun =
        RunStarted { provider: "local".into(), mode: "ssh-run".into(), workers: 2, command, ..RunStarted::default() };
    happens(&mut view, 0.0, What::RunStarted(Box::new(begun)));
    happens(&mut view, 1.0, What::Leased { machine: 0, name: "one".into(), workers: 2 });
    for worker in [0, 1] {
        happens(&mut view, 2.0, What::CommandStarted { worker, machine: 0 });
    }
    happens(&mut view, 3.0, What::CommandEnded { worker: 1, status: -9 });
    view.take(Sight::Figures(Figures { done: 1, failed: 1, total: 2, complete: true, ..Figures::default() }), 3.0);
    view.take(Sight::At(vec![(0, Some(Work::Command("make 'a b'".into())))]), 3.0);
    let rows = shown(&mut view, (80, 24));
    assert!(rows[0].starts_with("cloudist  2 workers on local: make 'a b'"), "{}", rows[0]);
    assert!(rows[1].ends_with("50%  1 of 2 commands  1 failed"), "{}", rows[1]);
    row_with(&rows, "0:14 make 'a b'");
    row_with(&rows, "  failed  gw1    worker 1");
}

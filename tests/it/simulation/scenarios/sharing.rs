//! Who gets what, and when something is taken back.

use super::*;

#[test]
fn each_worker_gets_a_file_and_one_more() {
    let story = Story::streaming().with(5, 2);
    assert_eq!(story.wanted, [collect(0, 0), collect(1, 1), collect(0, 2), collect(1, 3)]);
}

#[test]
fn the_first_units_go_round_before_anybody_gets_a_second() {
    let mut story = Story::streaming();
    story.joins(0, HERE);
    story.joins(1, THERE);
    assert_eq!(story.tell(Input::FilesFound(3)), [collect(0, 0), collect(1, 1), collect(0, 2)]);
}

#[test]
fn the_next_file_is_there_before_the_last_test_is_done() {
    let mut story = Story::streaming().with(5, 1);
    assert_eq!(story.collects(0, 0, 1), []);
    assert_eq!(story.passes(Duration::from_secs(1)).finishes(0, test(0, 0)), [collect(0, 2)]);
}

#[test]
fn an_idle_worker_is_given_waiting_files_before_tests() {
    let mut story = Story::streaming().with(2, 1);
    story.collects(0, 0, 10);
    assert_eq!(story.joins(1, THERE), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[], &[1]), [collect(1, 1)]);
}

#[test]
fn an_idle_worker_is_given_half_of_the_waiting_tests() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 11);
    assert_eq!(story.joins(1, THERE), []);
    assert_eq!(story.wakes(), [recall(0, 5)]);
    let returned: Vec<TestId> = (6..11).map(|index| test(0, index)).collect();
    assert_eq!(story.returns(0, &returned, &[]), [run(1, 0, 6..11)]);
}

#[test]
fn several_idle_workers_share_what_one_recall_brings() {
    let mut story = Story::streaming().with(1, 4);
    assert_eq!(story.collects(0, 0, 13), [complete(13), recall(0, 9)]);
    let returned: Vec<TestId> = (4..13).map(|index| test(0, index)).collect();
    let shared = [run(1, 0, 10..13), run(2, 0, 7..10), run(3, 0, 4..7)];
    assert_eq!(story.returns(0, &returned, &[]), shared);
}

#[test]
fn nothing_is_taken_that_would_be_done_sooner_where_it_is() {
    let mut story = Story::streaming().with(1, 1);
    story.passes(Duration::from_secs(2)).collects(0, 0, 100);
    for index in 0..50 {
        story.passes(Duration::from_millis(10)).finishes(0, test(0, index));
    }
    // Half a second of work is left, and another worker would import for two.
    assert_eq!(story.joins(1, THERE), []);
}

#[test]
fn what_waits_behind_a_long_test_is_taken_once_that_pays() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 5);
    for index in 0..3 {
        story.passes(Duration::from_millis(10)).finishes(0, test(0, index));
    }
    assert_eq!(story.joins(1, THERE), []);
    let before = story.now;
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.now.since(before), Duration::from_millis(100));
    assert_eq!(story.returns(0, &[test(0, 4)], &[]), [run(1, 0, [4])]);
}

#[test]
fn estimates_are_used_where_they_are_given() {
    let ms = |ms| Some(Duration::from_millis(ms));
    let told = |estimates: Vec<Option<Duration>>| {
        let mut story = Story::streaming().with(1, 2);
        story.passes(Duration::from_millis(100));
        let tests = estimates.len() as u32;
        story.tell(Input::Collected { worker: gw(0), file: FileId(0), tests, errors: 0, estimates })
    };
    assert_eq!(told(vec![ms(10), ms(10), ms(10), ms(10)]), [complete(4)]);
    assert_eq!(told(vec![ms(10), ms(900), ms(900), ms(900)]), [complete(4), recall(0, 1)]);
}

#[test]
fn results_that_cross_a_recall_count() {
    let mut story = Story::streaming().with(1, 2);
    assert_eq!(story.collects(0, 0, 3), [complete(3)]);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    for index in 0..3 {
        story.finishes(0, test(0, index));
        assert_eq!(story.verdict, Verdict::Accepted);
    }
    assert!(story.wanted.contains(&close(1)));
    story.returns(0, &[], &[]);
    assert_eq!(story.scheduler.ending(), Some(cloudist::scheduler::Ending::Complete));
}

#[test]
fn a_worker_that_had_nothing_to_return_is_not_asked_again_before_it_reports() {
    let mut story = Story::streaming().with(1, 2);
    assert_eq!(story.collects(0, 0, 4), [complete(4)]);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[], &[]), []);
    assert_eq!(story.passes(Duration::from_secs(1)).finishes(0, test(0, 0)), [recall(0, 1)]);
}

#[test]
fn an_answer_that_does_not_come_holds_nobody_up_for_long() {
    let mut story = Story::streaming().with(2, 2);
    story.collects(0, 0, 8);
    assert_eq!(story.collects(1, 1, 8), [complete(16)]);
    assert_eq!(story.joins(2, THERE), [recall(0, 3)]);
    assert_eq!(story.wakes(), [recall(1, 3)]);
}

#[test]
fn in_file_mode_a_file_that_has_begun_stays() {
    let mut story = Story::new(config(Mode::File, Collect::Stream, 2)).with(2, 1);
    story.collects(0, 0, 4);
    assert_eq!(story.joins(1, THERE), [recall(0, 1)]);
    // The worker was further than it seemed, and gives back a test of the file that it is at.
    story.collects(0, 1, 2);
    story.finishes(0, test(1, 0));
    assert_eq!(story.returns(0, &[test(1, 1)], &[]), [run(0, 1, [1])]);
}

#[test]
fn large_assignments_are_sent_in_batches() {
    let mut story = Story::new(config(Mode::File, Collect::First, 1)).with(1, 1);
    let wanted = story.collects(0, 0, 2_500);
    let sizes = wanted.iter().filter_map(|action| match action {
        Action::Run { work: Work::Tests(tests), .. } => Some(tests.len()),
        _ => None,
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [1_000, 1_000, 500]);
}

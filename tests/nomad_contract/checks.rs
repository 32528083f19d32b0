//! The list of checks that the real Nomad and the stand-in pass alike.
//!
//! The stand-in leaves out what no part of ours asks for, and answers 501 there: tokens and TLS, job files in HCL, the
//! event stream, and all of a job but one group of one shell script (it refuses the rest by name). It leaves out
//! restarts and reschedules after a failure, disks that move, and its own state over a stop of the server. So the tests
//! of these run on the real Nomad alone.

use testkit::cluster::{Access, Hosts};

use crate::{Cluster, calls, drains, moves, queries, waiting, work};

macro_rules! checks {
    ($($room:ident::$check:ident,)*) => {
        mod real {
            use super::*;
            $(#[tokio::test]
            async fn $check() {
                $room::$check(Cluster::start_on(Hosts::Real, Access::Open).await).await;
            })*
        }

        mod stand_in {
            use super::*;
            $(#[tokio::test]
            async fn $check() {
                $room::$check(Cluster::start_on(Hosts::StandIn, Access::Open).await).await;
            })*
        }
    };
}

checks! {
    calls::every_call_of_plugin_and_agent_is_answered,
    calls::lists_are_narrowed_as_the_plugin_asks,
    calls::a_purged_node_that_lives_registers_anew,
    calls::a_deadline_ends_a_drain_that_batch_work_holds_up,
    drains::each_of_our_calls_writes_one_node_event_with_the_index_that_it_returned,
    drains::a_drain_of_an_empty_node_completes_at_once_and_leaves_it_ineligible,
    drains::a_power_cut_and_a_boot_keep_the_node_its_ineligibility_and_our_event,
    drains::what_does_not_exist_is_none_or_says_not_found,
    moves::batch_work_runs_to_its_end_under_a_drain_and_system_work_stays,
    moves::a_service_moves_and_both_allocations_name_each_other,
    moves::a_service_that_has_nowhere_to_go_is_stopped_and_waits,
    moves::a_drain_that_is_cancelled_leaves_the_work_where_it_is,
    queries::a_blocking_query_waits_for_a_change_and_wakes_with_it,
    queries::an_index_from_the_future_is_told_to_start_again,
    queries::a_compare_and_set_loses_to_a_newer_write_and_is_told_what_stands,
    queries::a_variable_holds_as_much_as_we_say_and_not_a_byte_more,
    waiting::on_an_empty_cluster_a_job_of_three_waits_as_one_failure_with_two_more,
    waiting::after_a_part_found_room_the_blocked_evaluation_is_stale_and_the_summary_is_right,
    waiting::a_stopped_job_no_longer_waits,
    work::a_machine_runs_a_script_and_its_output_is_found_in_the_storys_folder,
    work::a_power_cut_ends_a_task_at_once_and_its_work_waits_again,
}

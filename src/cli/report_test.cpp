// SPDX-License-Identifier: Apache-2.0
#include "cli/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace taskwork::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report example() {
    Report report;
    report.command = {"xz", "-T2"};
    report.event = "cpu-clock, 997 Hz";
    report.elapsed_ns = 1'500'000'000;
    ProgramReport program;
    program.name = "sample";
    program.events.fired = 1234;
    program.events.dropped_nested = 5;
    program.events.dropped_stack = 6;
    program.events.faulted = 7;
    program.runs = 10;
    program.run_ns = 15000;
    program.schedules = {3, 2, 0, 0, 0, 0, 1};
    program.last_fault = "bad load at instruction 12";
    report.programs.push_back(program);
    report.works = {.scheduled = 3, .ran = 1, .cancelled = 1, .dropped = 1, .in_flight = 0};
    report.tasks.latency.counts[50] = 1;
    report.tasks.latency.max_ns = 1'500;
    MapReport map;
    map.name = "values";
    map.type = "hash";
    map.elements = Json::parse(R"([{"key":1,"value":{"text":"xz"}}])");
    report.maps.push_back(map);
    MapReport ring;
    ring.name = "records";
    ring.type = "ringbuf";
    ring.ring = RingReport{.records = 4, .bytes = 64, .dropped = 2};
    report.maps.push_back(ring);
    report.processes.push_back({77, "xz -T2", {{0x1000, 0x2000, 0x40, "/usr/bin/xz"}}});
    report.not_entered.push_back({78, "busybox", "statically linked"});
    report.maps.front().refused = 1234;
    report.held_back.push_back({77, 79, "xz-2", 2'500'000'000});
    report.processors_shared = 1234;
    return report;
}

TEST(Report, text_says_everything_that_was_counted) {
    const std::string text = report_text(example());
    EXPECT_THAT(text, HasSubstr("xz -T2\n"));
    EXPECT_THAT(text,
                HasSubstr("1,234 fired, 11 dropped (5 nested, 6 too little stack), 7 faulted"));
    EXPECT_THAT(text, HasSubstr("bad load at instruction 12"));
    EXPECT_THAT(text, HasSubstr("3 ok, 2 EBUSY, 1 other"));
    EXPECT_THAT(text, HasSubstr("3 scheduled: 1 ran, 1 cancelled, 1 dropped\n"));
    EXPECT_THAT(text, HasSubstr("max 1.50 us"));
    EXPECT_THAT(text, HasSubstr("not entered: 1 process\n"));
    EXPECT_THAT(text, HasSubstr("busybox: statically linked"));
    EXPECT_THAT(text, HasSubstr("map values (hash): 1 element, 1,234 updates found no memory\n"
                                "[{\n        \"key\": 1,\n"));
    EXPECT_THAT(text, HasSubstr("memory held back: by thread 79 of process 77 (xz-2), in one "
                                "section for 2.50 s at least\n"));
    EXPECT_THAT(text,
                HasSubstr("per-CPU slots: 1,234 runs of programs shared a processor's number: "
                          "updates that are not atomic may be lost\n"));
    EXPECT_THAT(text, HasSubstr("map records (ringbuf): 4 records, 64 bytes, 2 dropped"));
}

TEST(Report, text_leaves_out_what_there_is_none_of) {
    Report report;
    report.command = {"true"};
    const std::string text = report_text(report);
    EXPECT_THAT(text, HasSubstr("none ran"));
    EXPECT_THAT(text, Not(HasSubstr("not entered")));
    EXPECT_THAT(text, Not(HasSubstr("in flight")));
    EXPECT_THAT(text, Not(HasSubstr("note:")));
    EXPECT_THAT(text, Not(HasSubstr("held back")));
    EXPECT_THAT(text, Not(HasSubstr("per-CPU")));
}

TEST(Report, json_is_one_document_with_the_promised_members) {
    const Json document = Json::parse(report_json(example()));
    EXPECT_EQ(document["command"], Json({"xz", "-T2"}));
    ASSERT_TRUE(document["programs"].is_array());
    EXPECT_EQ(document["programs"][0]["name"], "sample");
    EXPECT_EQ(document["programs"][0]["fired"], 1234);
    EXPECT_EQ(document["programs"][0]["schedules"]["EBUSY"], 2);
    EXPECT_EQ(document["maps"]["values"][0]["value"]["text"], "xz");
    EXPECT_EQ(document["maps"]["records"], Json::array());
    EXPECT_EQ(document["ring_buffers"]["records"]["records"], 4);
    const Json& counters = document["counters"];
    EXPECT_EQ(counters["scheduled"].get<int>(), counters["ran"].get<int>() +
                                                    counters["cancelled"].get<int>() +
                                                    counters["dropped"].get<int>());
    EXPECT_EQ(counters["fired"], 1234);
    EXPECT_EQ(counters["processors_shared"], 1234);
    EXPECT_EQ(document["latency_ns"]["max"], 1500);
    EXPECT_EQ(document["processes"][0]["modules"][0]["path"], "/usr/bin/xz");
    EXPECT_EQ(document["not_entered"][0]["reason"], "statically linked");
    EXPECT_EQ(document["maps_refused"], Json::parse(R"({"values":1234})"));
    EXPECT_EQ(document["held_back"], Json::parse(R"([{"pid":77,"tid":79,"command":"xz-2",
                                                      "ns":2500000000}])"));
}

TEST(Report, numbers_and_durations_are_readable) {
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(with_commas(1000), "1,000");
    EXPECT_EQ(with_commas(1234567), "1,234,567");
    EXPECT_EQ(duration_text(0), "0 ns");
    EXPECT_EQ(duration_text(999), "999 ns");
    EXPECT_EQ(duration_text(1000), "1.00 us");
    EXPECT_EQ(duration_text(12345), "12.3 us");
    EXPECT_EQ(duration_text(999'999), "1.00 ms");
    EXPECT_EQ(duration_text(1'500'000'000), "1.50 s");
    EXPECT_EQ(duration_text(7'200'000'000'000), "7200 s");
}

}  // namespace
}  // namespace taskwork::cli

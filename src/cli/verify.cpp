// SPDX-License-Identifier: Apache-2.0
#include "cli/verify.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/btf_value.hpp"
#include "cli/host.hpp"
#include "cli/json_file.hpp"
#include "cli/object_file.hpp"
#include "cli/verify_load.hpp"
#include "cli/verify_tags.hpp"
#include "task/worker.hpp"

namespace taskwork::cli {

namespace {

/// How long the maps of one program are waited for before those of the next are made.
constexpr std::uint64_t kReleaseNs = 1'000'000'000;
constexpr std::uint32_t kLevelPath = 1;
constexpr std::uint32_t kLevelStatistics = 4;

void complain(const std::string& text) { fmt::print(stderr, "taskwork: {}\n", text); }

/// An object's file, and the programs of it that are asked for.
struct ObjectFile {
    std::string path;
    std::vector<char> bytes;
    std::vector<ProgramName> programs;
};

Result<ObjectFile> read_object(const std::string& path, const std::vector<std::string>& names) {
    Result<std::vector<char>> bytes = read_object_file(path);
    if (!bytes) {
        return bytes.error();
    }
    Result<std::vector<ProgramName>> programs = programs_of(*bytes, path);
    if (!programs) {
        return programs.error();
    }
    if (!names.empty()) {
        std::erase_if(*programs, [&](const ProgramName& program) {
            return std::find(names.begin(), names.end(), program.name) == names.end();
        });
    }
    return ObjectFile{path, std::move(*bytes), std::move(*programs)};
}

const char* verdict_text(bool accepted) { return accepted ? "accepted" : "rejected"; }

/// What is told at the end.
class Tally {
public:
    void add(const ProgramVerdict& verdict, bool good) {
        ++programs_;
        accepted_ += verdict.accepted ? 1 : 0;
        bad_ += good ? 0 : 1;
        not_loaded_ = not_loaded_ || (!good && !verdict.reached_verifier);
    }
    void object_failed() { not_loaded_ = true; }
    [[nodiscard]] int exit_status() const {
        return not_loaded_ ? kExitNotLoaded : bad_ != 0 ? kExitNotAll : 0;
    }
    [[nodiscard]] std::string text(bool expect) const {
        std::string text = fmt::format("{} program{}: {} accepted, {} rejected", programs_,
                                       programs_ == 1 ? "" : "s", accepted_, programs_ - accepted_);
        if (expect) {
            text += bad_ == 0 ? "; all as expected" : fmt::format("; {} not as expected", bad_);
        }
        return text + "\n";
    }

private:
    std::size_t programs_ = 0;
    std::size_t accepted_ = 0;
    std::size_t bad_ = 0;
    bool not_loaded_ = false;
};

class Verification {
public:
    Verification(const VerifyOptions& options, std::FILE* out) : options_(options), out_(out) {}

    /// All programs of the object.
    void verify(const ObjectFile& object) {
        if (options_.objects.size() > 1 && !object.programs.empty()) {
            fmt::print(out_, "{}\n", object.path);
        }
        for (const ProgramName& program : object.programs) {
            const Expectation expectation = expectation_of(program.tags);
            if (!options_.expect || !expectation.auxiliary) {
                verify(object, program, expectation);
            }
            std::fflush(out_);
        }
    }

    Tally tally;
    Json programs = Json::array();

private:
    void verify(const ObjectFile& object, const ProgramName& program,
                const Expectation& expectation) {
        std::uint32_t level = options_.log_level == 0 ? kLevelPath : options_.log_level;
        level |= kLevelStatistics | (options_.expect ? expectation.log_level : 0);
        const ProgramVerdict verdict = load_alone(object.bytes, object.path, program.name, level);
        // Or the maps of many programs, which wait for a grace period, would fill the domain.
        task::Worker::synchronize(kReleaseNs);
        if (!verdict.absent_functions.empty() && told_absent_.insert(object.path).second) {
            complain(fmt::format("{}: cannot be loaded as a whole: there is no kernel function {}",
                                 object.path, fmt::join(verdict.absent_functions, ", ")));
        }
        const std::string wrong = options_.expect ? difference(expectation, verdict) : "";
        const bool good = options_.expect ? wrong.empty() : verdict.accepted;
        tally.add(verdict, good);
        print(program, verdict, wrong);
        programs.push_back(
            {{"object", object.path},
             {"name", program.name},
             {"section", program.section},
             {"verdict", verdict_text(verdict.accepted)},
             {"expected", options_.expect ? Json(verdict_text(expectation.accepted)) : Json()},
             {"difference", wrong.empty() ? Json() : Json(wrong)},
             {"reason", verdict.accepted ? Json() : Json(verdict.reason)},
             {"insns_processed", verdict.summary.insns_processed},
             {"states_peak", verdict.summary.states_peak},
             {"states_total", verdict.summary.states_total},
             {"time_us", verdict.summary.time_us}});
    }

    void print(const ProgramName& program, const ProgramVerdict& verdict,
               const std::string& wrong) const {
        const LogSummary& summary = verdict.summary;
        fmt::print(out_, "{:<9} {:<32} {:<11} ", verdict_text(verdict.accepted), program.name,
                   program.section);
        if (verdict.reached_verifier) {
            fmt::print(out_, "{} insns, states {} peak {} total, {} us\n", summary.insns_processed,
                       summary.states_peak, summary.states_total, summary.time_us);
        } else {
            fmt::print(out_, "not loaded: {}\n", verdict.reason);
        }
        if (!wrong.empty()) {
            fmt::print(out_, "  NOT AS EXPECTED: {}\n", wrong);
        }
        if (options_.log_level != 0) {
            fmt::print(out_, "{}", verdict.log);
            return;
        }
        // A rejection that was expected needs no explanation.
        if (verdict.accepted || !verdict.reached_verifier || (options_.expect && wrong.empty())) {
            return;
        }
        for (const std::string& line : summary.end) {
            fmt::print(out_, "  {}\n", line);
        }
        if (summary.end.empty()) {
            fmt::print(out_, "  {}\n", verdict.reason);
        }
    }

    const VerifyOptions& options_;
    std::FILE* out_;
    std::set<std::string> told_absent_;  ///< Objects of which it was told.
};

/// What was asked for and is in no object.
std::vector<std::string> missing(const std::vector<std::string>& names,
                                 const std::vector<ObjectFile>& objects) {
    std::vector<std::string> nowhere;
    for (const std::string& name : names) {
        const bool found = std::any_of(objects.begin(), objects.end(), [&](const auto& object) {
            return std::any_of(object.programs.begin(), object.programs.end(),
                               [&](const auto& program) { return program.name == name; });
        });
        if (!found) {
            complain(fmt::format("--prog {}: no such program in {}", name,
                                 objects.size() == 1 ? objects[0].path : "any of the objects"));
            nowhere.push_back(name);
        }
    }
    return nowhere;
}

}  // namespace

int verify(const VerifyOptions& options) {
    JsonFile json;
    if (Result<void> opened = json.open(options.json_path); !opened) {
        complain(opened.error().text);
        return kExitFailed;
    }
    Verification verification(options, options.json_path == "-" ? stderr : stdout);
    std::vector<ObjectFile> objects;
    Json not_loaded = Json::array();
    for (const std::string& path : options.objects) {
        Result<ObjectFile> object = read_object(path, options.programs);
        if (object) {
            objects.push_back(std::move(*object));
        } else {
            complain(object.error().text);
            not_loaded.push_back({{"object", path}, {"reason", object.error().text}});
            verification.tally.object_failed();
        }
    }
    std::vector<std::string> not_found;
    if (!objects.empty()) {
        not_found = missing(options.programs, objects);
    }
    const bool any = !objects.empty() && not_found.empty();
    if (any) {
        if (Result<void> started = Host::start(); !started) {
            complain(started.error().text);
            return kExitFailed;
        }
        for (const ObjectFile& object : objects) {
            verification.verify(object);
        }
        Host::stop();
        fmt::print(options.json_path == "-" ? stderr : stdout, "{}",
                   verification.tally.text(options.expect));
    }
    if (json.is_wanted()) {
        const Json document = {{"programs", std::move(verification.programs)},
                               {"objects_not_loaded", std::move(not_loaded)},
                               {"programs_not_found", not_found}};
        if (Result<void> written = json.write(to_json_text(document) + "\n"); !written) {
            complain(written.error().text);
            return kExitFailed;
        }
    }
    return any ? verification.tally.exit_status() : kExitNotLoaded;
}

}  // namespace taskwork::cli

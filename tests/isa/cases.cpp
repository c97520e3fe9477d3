// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/cases.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "tests/isa/assembler.hpp"
#include "tests/isa/text.hpp"

#ifndef TASKWORK_TEST_CASES_DIR
#error "the build says where the cases are"
#endif

namespace taskwork::isa {

namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

std::string trim(const std::string& text) {
    const std::size_t begin = text.find_first_not_of(" \t\r");
    return begin == std::string::npos
               ? ""
               : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

class Reader {
public:
    explicit Reader(std::string file) : file_(std::move(file)) {}

    Result<std::vector<Case>> read(std::istream& in) {
        std::string line;
        while (std::getline(in, line)) {
            ++number_;
            line = trim(line);
            if (line.empty() || line.starts_with('#')) {
                continue;
            }
            if (Result<void> taken = take(line); !taken) {
                return Error{taken.error().code, place() + ": " + taken.error().text};
            }
        }
        if (cases_.empty() || !has_expectation_) {
            return wrong(file_ + ": it ends with a program of which nothing is expected");
        }
        return std::move(cases_);
    }

private:
    static Error wrong(std::string text) { return {std::errc::invalid_argument, std::move(text)}; }
    [[nodiscard]] std::string place() const { return file_ + ":" + std::to_string(number_); }

    Result<void> take(const std::string& line) {
        if (line.starts_with("==")) {
            return begin(trim(line.substr(2)));
        }
        if (name_.empty()) {
            return wrong("a case begins with '== name'");
        }
        if (line.starts_with("=>")) {
            return finish({}, trim(line.substr(2)));
        }
        if (line.starts_with("where ")) {
            return finish_where(line.substr(6));
        }
        if (line.starts_with("memory:")) {
            Result<std::vector<std::uint8_t>> bytes = bytes_of_hex(line.substr(7));
            if (!bytes) {
                return bytes.error();
            }
            memory_ = *bytes;
            return {};
        }
        if (has_expectation_) {
            return wrong("a program goes on behind what is expected of it");
        }
        lines_.push_back(line);
        return {};
    }
    Result<void> begin(const std::string& name) {
        if (!name_.empty() && !has_expectation_) {
            return wrong("nothing is expected of '" + name_ + "'");
        }
        if (name.empty() || !names_.insert(name).second) {
            return wrong("no name, or one that is there already: '" + name + "'");
        }
        name_ = name;
        lines_.clear();
        memory_.clear();
        has_expectation_ = false;
        return {};
    }
    Result<void> finish_where(const std::string& text) {
        const std::size_t arrow = text.find(" => ");
        if (arrow == std::string::npos) {
            return wrong("'where' without ' => '");
        }
        Variables variables;
        std::istringstream words(text.substr(0, arrow));
        for (std::string word; words >> word;) {
            const std::size_t equals = word.find('=');
            if (equals == std::string::npos || equals == 0) {
                return wrong("'" + word + "' is not variable=value");
            }
            variables.emplace_back(word.substr(0, equals), word.substr(equals + 1));
        }
        return finish(variables, trim(text.substr(arrow + 4)));
    }
    Result<void> finish(const Variables& variables, const std::string& expected) {
        has_expectation_ = true;
        Case made{
            .name = name_, .place = place(), .memory = memory_, .program = {}, .expected = {}};
        std::vector<std::string> lines = lines_;
        for (const auto& [variable, value] : variables) {
            made.name += " " + variable + "=" + value;
            bool used = false;
            for (std::string& line : lines) {
                used = replace(line, "$" + variable, value) || used;
            }
            if (!used) {
                return wrong("the program has no $" + variable);
            }
        }
        Result<std::vector<std::uint8_t>> program = assemble(lines);
        if (!program) {
            return program.error();
        }
        made.program = *program;
        if (Result<void> taken = expect(made.expected, expected); !taken) {
            return taken;
        }
        cases_.push_back(made);
        return {};
    }
    static bool replace(std::string& line, const std::string& what, const std::string& with) {
        bool found = false;
        for (std::size_t at = 0; (at = line.find(what, at)) != std::string::npos;
             at += with.size()) {
            line.replace(at, what.size(), with);
            found = true;
        }
        return found;
    }
    static Result<void> expect(Expectation& expected, const std::string& text) {
        for (const auto& [word, kind] : {std::pair("refused:", Expectation::Kind::refused),
                                         std::pair("fault:", Expectation::Kind::fault)}) {
            if (text.starts_with(word)) {
                expected.kind = kind;
                expected.words = trim(text.substr(std::string(word).size()));
                return expected.words.empty() ? Result<void>(wrong("no words")) : Result<void>();
            }
        }
        Result<std::uint64_t> number = parse_number(text);
        if (!number) {
            return number.error();
        }
        expected.r0 = *number;
        return {};
    }

    std::string file_;
    unsigned number_ = 0;
    std::string name_;
    std::vector<std::uint8_t> memory_;
    std::vector<std::string> lines_;
    bool has_expectation_ = false;
    std::set<std::string> names_;
    std::vector<Case> cases_;
};

}  // namespace

std::vector<std::string> case_files() {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(TASKWORK_TEST_CASES_DIR)) {
        if (entry.path().extension() == ".txt") {
            files.push_back(entry.path().stem().string());
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

Result<std::vector<Case>> read_cases(const std::string& file) {
    const std::string path = std::string(TASKWORK_TEST_CASES_DIR) + "/" + file + ".txt";
    std::ifstream in(path);
    if (!in) {
        return Error{static_cast<std::errc>(errno), path + ": cannot be read"};
    }
    return Reader(file + ".txt").read(in);
}

}  // namespace taskwork::isa

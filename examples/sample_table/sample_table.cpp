// SPDX-License-Identifier: Apache-2.0
//
// Prints what sampler.bpf.o and stack_sampler.bpf.o have counted as tables for a person.
//
//     taskwork run --json=report.json sampler.bpf.o -- COMMAND
//     sample_table report.json [ROWS]
//
// An example of a consumer of the JSON report: the maps are the sampler's, the modules that turn
// addresses into names are the report's. A name is that of the symbol of the module (.symtab, else
// .dynsym) that covers the address; without one, module and offset are printed.
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

using nlohmann::json;

/// One ELF file: its functions, by address.
class Symbols {
public:
    explicit Symbols(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        Elf* elf = fd < 0 ? nullptr : ::elf_begin(fd, ELF_C_READ, nullptr);
        if (elf != nullptr && ::elf_kind(elf) == ELF_K_ELF) {
            read_segments(elf);
            if (!read_table(elf, SHT_SYMTAB)) {
                read_table(elf, SHT_DYNSYM);
            }
            std::sort(functions_.begin(), functions_.end(),
                      [](const Function& a, const Function& b) { return a.start < b.start; });
        }
        ::elf_end(elf);
        if (fd >= 0) {
            ::close(fd);
        }
    }

    /// Address in the file's own address space of a position in the file.
    [[nodiscard]] std::uint64_t address_of(std::uint64_t position) const {
        for (const Segment& segment : segments_) {
            if (position >= segment.position && position < segment.position + segment.size) {
                return position - segment.position + segment.address;
            }
        }
        return position;
    }

    /// Name of the function at an address; empty: none covers it.
    [[nodiscard]] std::string name_at(std::uint64_t address) const {
        auto behind = std::upper_bound(
            functions_.begin(), functions_.end(), address,
            [](std::uint64_t value, const Function& function) { return value < function.start; });
        if (behind == functions_.begin()) {
            return {};
        }
        const Function& function = *std::prev(behind);
        if (address >= function.start + function.size) {
            return {};
        }
        int status = 0;
        const std::unique_ptr<char, void (*)(void*)> plain(
            abi::__cxa_demangle(function.name.c_str(), nullptr, nullptr, &status), std::free);
        return status == 0 ? plain.get() : function.name;
    }

private:
    struct Segment {
        std::uint64_t position, size, address;
    };
    struct Function {
        std::uint64_t start, size;
        std::string name;
    };

    void read_segments(Elf* elf) {
        std::size_t count = 0;
        ::elf_getphdrnum(elf, &count);
        for (std::size_t index = 0; index < count; ++index) {
            GElf_Phdr header;
            if (::gelf_getphdr(elf, static_cast<int>(index), &header) != nullptr &&
                header.p_type == PT_LOAD) {
                segments_.push_back({header.p_offset, header.p_filesz, header.p_vaddr});
            }
        }
    }

    bool read_table(Elf* elf, unsigned type) {
        for (Elf_Scn* section = ::elf_nextscn(elf, nullptr); section != nullptr;
             section = ::elf_nextscn(elf, section)) {
            GElf_Shdr header;
            if (::gelf_getshdr(section, &header) == nullptr || header.sh_type != type) {
                continue;
            }
            Elf_Data* data = ::elf_getdata(section, nullptr);
            const std::size_t count =
                header.sh_entsize == 0 ? 0 : header.sh_size / header.sh_entsize;
            for (std::size_t index = 0; data != nullptr && index < count; ++index) {
                GElf_Sym symbol;
                if (::gelf_getsym(data, static_cast<int>(index), &symbol) == nullptr ||
                    symbol.st_shndx == SHN_UNDEF ||
                    (GELF_ST_TYPE(symbol.st_info) != STT_FUNC &&
                     GELF_ST_TYPE(symbol.st_info) != STT_GNU_IFUNC)) {
                    continue;
                }
                const char* name = ::elf_strptr(elf, header.sh_link, symbol.st_name);
                functions_.push_back({symbol.st_value, symbol.st_size, name ? name : ""});
            }
            return true;
        }
        return false;
    }

    std::vector<Segment> segments_;
    std::vector<Function> functions_;
};

/// Turns addresses of the report's processes into names.
class Names {
public:
    explicit Names(const json& report) {
        for (const json& process : report.at("processes")) {
            auto& modules = modules_[process.at("pid")];
            for (const json& module : process.at("modules")) {
                modules.push_back(
                    {module.at("start"), module.at("end"), module.at("offset"), module.at("path")});
            }
        }
    }

    std::string name(std::uint64_t pid, std::uint64_t address) {
        for (const Module& module : modules_[pid]) {
            if (address < module.start || address >= module.end) {
                continue;
            }
            auto [symbols, is_new] = symbols_.try_emplace(module.path, module.path);
            const std::uint64_t inside =
                symbols->second.address_of(address - module.start + module.offset);
            const std::string file = module.path.substr(module.path.rfind('/') + 1);
            const std::string function = symbols->second.name_at(inside);
            return function.empty() ? file + "+" + hex(inside) : function + " [" + file + "]";
        }
        return hex(address);
    }

private:
    struct Module {
        std::uint64_t start, end, offset;
        std::string path;
    };
    static std::string hex(std::uint64_t number) {
        char text[32];
        std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(number));
        return text;
    }

    std::map<std::uint64_t, std::vector<Module>> modules_;
    std::map<std::string, Symbols> symbols_;
};

using Counts = std::map<std::string, std::uint64_t>;

void print_top(const char* title, const Counts& counts, std::uint64_t total, std::size_t rows) {
    std::vector<std::pair<std::uint64_t, std::string>> order;
    for (const auto& [label, count] : counts) {
        order.emplace_back(count, label);
    }
    std::sort(order.rbegin(), order.rend());
    std::printf("\n%s\n  samples  share\n", title);
    std::uint64_t rest = 0;
    for (std::size_t row = 0; row < order.size(); ++row) {
        if (row >= rows) {
            rest += order[row].first;
            continue;
        }
        std::printf("  %7llu %5.1f%%  %s\n", static_cast<unsigned long long>(order[row].first),
                    100.0 * static_cast<double>(order[row].first) / static_cast<double>(total),
                    order[row].second.c_str());
    }
    if (rest != 0) {
        std::printf("  %7llu %5.1f%%  (%zu others)\n", static_cast<unsigned long long>(rest),
                    100.0 * static_cast<double>(rest) / static_cast<double>(total),
                    order.size() - rows);
    }
}

const json& elements(const json& report, const char* map) {
    static const json none = json::array();
    const json& maps = report.at("maps");
    return maps.contains(map) ? maps.at(map) : none;
}

void print_report(const json& report, std::size_t rows) {
    ::elf_version(EV_CURRENT);
    Names names(report);

    for (const json& element : elements(report, "processes")) {
        const json& value = element.at("value");
        std::printf("process %llu: %s\n",
                    static_cast<unsigned long long>(element.at("key").get<std::uint64_t>()),
                    value.at("command_line").get<std::string>().c_str());
        const std::string variable = value.at("environment");
        std::printf("  %s\n", variable.empty() ? "(the variable is not set)" : variable.c_str());
    }

    std::uint64_t total = 0;
    Counts threads;
    for (const json& element : elements(report, "threads")) {
        const json& value = element.at("value");
        char label[96];
        std::snprintf(label, sizeof label, "%-7llu %s",
                      static_cast<unsigned long long>(element.at("key").get<std::uint64_t>()),
                      value.at("name").get<std::string>().c_str());
        threads[label] += value.at("samples").get<std::uint64_t>();
        total += value.at("samples").get<std::uint64_t>();
    }
    print_top("threads", threads, total, rows);

    Counts leaves;
    for (const json& element : elements(report, "leaves")) {
        const json& key = element.at("key");
        leaves[names.name(key.at("tgid"), key.at("address"))] +=
            element.at("value").get<std::uint64_t>();
    }
    print_top("where", leaves, total, rows);

    Counts stacks;
    for (const json& element : elements(report, "stacks")) {
        const json& key = element.at("key");
        std::string stack;
        bool leaf = true;
        for (const json& address : key.at("addresses")) {
            const auto at = address.get<std::uint64_t>();
            if (at == 0) {
                break;
            }
            // A return address may lie behind its function's end; the call does not.
            std::string name = names.name(key.at("tgid"), leaf ? at : at - 1);
            if (name.find("[libtaskwork-agent.so]") != std::string::npos) {
                continue;  // the preload library starts threads; not the program's own doing
            }
            name = name.substr(0, name.find(" ["));
            stack += (leaf ? "" : " < ") + name;
            leaf = false;
        }
        stacks[stack] += element.at("value").get<std::uint64_t>();
    }
    if (!stacks.empty()) {
        print_top("stacks, innermost first", stacks, total, rows);
    }
}

}  // namespace

int main(int argument_count, char** arguments) {
    if (argument_count < 2 || argument_count > 3) {
        std::fputs("usage: sample_table REPORT.json [ROWS]\n", stderr);
        return 2;
    }
    const long rows = argument_count == 3 ? std::strtol(arguments[2], nullptr, 10) : 12;
    try {
        std::ifstream file(arguments[1]);
        print_report(json::parse(file), rows < 1 ? 1 : static_cast<std::size_t>(rows));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sample_table: %s: %s\n", arguments[1], error.what());
        return 1;
    }
    return 0;
}

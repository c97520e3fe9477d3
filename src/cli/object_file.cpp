// SPDX-License-Identifier: Apache-2.0
#include "cli/object_file.hpp"

#include <bpf/libbpf.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "uapi/diagnosis.hpp"
#include "uapi/object_check.hpp"

namespace taskwork::cli {

namespace {

/// Larger than any object that makes sense; keeps a mistaken path from filling memory.
constexpr off_t kFileSizeMax = 256 << 20;

/// libbpf's messages: kept, since the first warning says what is wrong, and shown if wanted.
struct Messages {
    std::vector<std::string> warnings;
    bool show = false;
};
Messages& messages() {
    static auto* instance = new Messages;
    return *instance;
}

int print_message(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG) {
        return 0;
    }
    char* text = nullptr;
    const int size = ::vasprintf(&text, format, arguments);
    if (size < 0) {
        return 0;
    }
    std::string line(text, static_cast<std::size_t>(size));
    std::free(text);
    while (!line.empty() && line.back() == '\n') {
        line.pop_back();
    }
    if (messages().show) {
        fmt::print(stderr, "{}\n", line);
    }
    if (level == LIBBPF_WARN) {
        constexpr std::string_view prefix = "libbpf: ";
        messages().warnings.push_back(line.starts_with(prefix) ? line.substr(prefix.size()) : line);
    }
    return size;
}

bool has_warned(std::string_view part) {
    return std::any_of(
        messages().warnings.begin(), messages().warnings.end(),
        [&](const std::string& warning) { return warning.find(part) != std::string::npos; });
}

/// Text on one line.
std::string one_line(std::string text) {
    const std::size_t end = text.find('\n');
    return end == std::string::npos ? text : text.substr(0, end);
}

Result<std::vector<char>> read_whole(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return Error{last_errc(), fmt::format("{}: {}", path, std::strerror(errno))};
    }
    struct stat status{};
    ::fstat(fd, &status);
    std::string refusal;
    if (S_ISDIR(status.st_mode)) {
        refusal = "is a directory";
    } else if (status.st_size > kFileSizeMax) {
        refusal = "too large for a BPF object";
    }
    std::vector<char> bytes;
    while (refusal.empty() && bytes.size() <= static_cast<std::size_t>(kFileSizeMax)) {
        const std::size_t before = bytes.size();
        bytes.resize(before + 65536);
        const ssize_t got = ::read(fd, bytes.data() + before, 65536);
        if (got < 0) {
            refusal = std::strerror(errno);
        }
        bytes.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
        if (got <= 0) {
            break;
        }
    }
    ::close(fd);
    if (!refusal.empty()) {
        return Error{std::errc::invalid_argument, fmt::format("{}: {}", path, refusal)};
    }
    return bytes;
}

bool has_section(const std::vector<char>& bytes, std::string_view wanted) {
    ::elf_version(EV_CURRENT);
    Elf* elf = ::elf_memory(const_cast<char*>(bytes.data()), bytes.size());
    std::size_t names = 0;
    bool found = false;
    if (elf != nullptr && ::elf_getshdrstrndx(elf, &names) == 0) {
        for (Elf_Scn* section = ::elf_nextscn(elf, nullptr); section != nullptr && !found;
             section = ::elf_nextscn(elf, section)) {
            GElf_Shdr header;
            const char* name = ::gelf_getshdr(section, &header) != nullptr
                                   ? ::elf_strptr(elf, names, header.sh_name)
                                   : nullptr;
            found = name != nullptr && wanted == name;
        }
    }
    ::elf_end(elf);
    return found;
}

/// What is wrong with the file as such; empty if nothing.
std::string what_is_wrong(const std::vector<char>& bytes) {
    Elf64_Ehdr header;
    if (bytes.size() < sizeof header || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) {
        return "not an ELF file";
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_BPF) {
        return fmt::format("not a BPF object (ELF machine {}; compile with clang -target bpf)",
                           header.e_machine);
    }
    if (header.e_ident[EI_DATA] != ELFDATA2LSB) {
        return "a big-endian BPF object; this machine needs a little-endian one";
    }
    if (header.e_type != ET_REL) {
        return "not a relocatable BPF object";
    }
    if (!has_section(bytes, ".BTF")) {
        return "has no BTF (compile with clang -g)";
    }
    const std::string fault = uapi::fault_of_object(std::as_bytes(std::span(bytes)));
    return fault.empty() ? fault : "a damaged object: " + fault;
}

}  // namespace

void CloseObject::operator()(bpf_object* object) const noexcept { bpf_object__close(object); }

Result<std::vector<char>> read_object_file(const std::string& path) {
    auto bytes = read_whole(path);
    if (bytes) {
        if (const std::string wrong = what_is_wrong(*bytes); !wrong.empty()) {
            return Error{std::errc::executable_format_error, path + ": " + wrong};
        }
    }
    return bytes;
}

Result<ObjectHandle> open_object(const std::vector<char>& bytes, const std::string& path) {
    libbpf_set_print(print_message);
    std::string name = path.substr(path.rfind('/') + 1);
    name = name.substr(0, name.find('.'));
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
    ObjectHandle object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (object == nullptr) {
        return Error{last_errc(), path + ": cannot be opened: " + why_failed(errno)};
    }
    return object;
}

void clear_messages() {
    messages().warnings.clear();
    uapi::clear_diagnosis();
}

void clear_messages(bool show) {
    messages().show = show;
    clear_messages();
}

bool program_load_failed() { return has_warned("BPF program load failed"); }

bool lacks_function() { return has_warned("extern (func ksym)"); }

std::string why_failed(int error) {
    const std::string diagnosis = uapi::last_diagnosis();
    const bool call_failed =
        program_load_failed() || has_warned("failed to create") || has_warned("failed to attach");
    if (call_failed && !diagnosis.empty()) {
        return one_line(diagnosis);
    }
    if (!messages().warnings.empty()) {
        return one_line(messages().warnings.front());
    }
    return diagnosis.empty() ? std::strerror(error) : one_line(diagnosis);
}

}  // namespace taskwork::cli

# shellcheck shell=bash
# Sourced by the long steps of the set-up: `progress` shows how far a step is, as a bar on a terminal, as a line every 30 s elsewhere.
#
# Two steps may run at the same time (make -j2). A terminal has room for one bar: the first step to draw keeps it until its end.

_progress_shown=0
_progress_terminal=""

progress() { # NAME DONE TOTAL WHAT SECONDS, such as: progress "guest kernel" 412 750 "files compiled" 80
    local name=$1 count=$2 total=$3 what=$4 seconds=$5 share bar
    share=$((total > 0 ? 100 * count / total : 0))
    if ((share > 100)); then share=100; fi # the totals are estimates
    if [[ -t 2 ]]; then
        if [[ -z "$_progress_terminal" ]]; then
            _progress_terminal="$(tty <&2)"
            exec 8<"$_progress_terminal"
        fi
        flock -n 8 2>/dev/null || return 0
        printf -v bar '%*s' $((share * 30 / 100)) ''
        printf '\r\033[K%s: [%-30s] %3d %%  %s, %d s' "$name" "${bar// /#}" "$share" "$what" "$seconds" >&2
    elif ((seconds - _progress_shown >= 30)); then
        _progress_shown=$seconds
        printf '%s: %d %%, %s, %d s\n' "$name" "$share" "$what" "$seconds" >&2
    fi
}

progress_end() { # takes the bar away; what is said next begins a line
    if [[ -n "$_progress_terminal" ]]; then
        if flock -n 8 2>/dev/null; then printf '\r\033[K' >&2; fi
        exec 8<&-
        _progress_terminal=""
    fi
}

# shellcheck shell=bash
# What tests/asterisk/run knows of the second Asterisk: trunks to the bridge with each codec and each way of digits, and such
# that hold, transfer and move their media, with telephones behind them (the file `phone`). All calls that do not wait for
# each other are made at once.
#
#   users  127.0.3.5x ──TLS, SRTP──  127.0.3.1  wabridge  ──UDP, RTP──  127.0.3.1x  a trunk of Asterisk  ──  127.0.3.8x  phones
#                                        └───────── RTP, where direct_media is on ─────────────────────────────┘

# trunk NAME HOST SETTINGS [OPTION]…: one more [[pbx]] of trunks.toml, at 127.0.3.HOST and with SETTINGS; and in Asterisk
# the endpoint that users are given, with these OPTIONs in place of its own.
trunk() {
    local name=$1 at=127.0.3.$2 number=02$2 settings=$3 contact='' option edits=()
    shift 3
    for option in "$@"; do
        edits+=(-e "/^${option%%=*}=/d" -e "/^rtp_symmetric=/a $option")
    done
    if [[ "$settings" == *'"tcp"'* ]]; then
        edits+=(-e "s/^protocol=udp/protocol=tcp/")
        contact=";transport=tcp"
    fi
    cat >>"$out/bridge.toml" <<TOML
[[pbx]]
name = "$name"
address = "$at:5060"
default_number = "+1214555$number"
headers = { "X-Trunk" = "$name" }
$settings

TOML
    number "$number" "$name"
    sed -n '/^\[transport-udp\]/,/^; A phone to try/p' conf/asterisk/pjsip.conf | sed -E "
        s/transport-udp/transport-$name/
        s/^\[wabridge\]/[$name]/
        s/^(endpoint|aors)=wabridge/\1=$name/
        s/^bind=.*/bind=$at:5060/
        s/^contact=.*/contact=sip:$bridge:5070$contact/
        s/^match=.*/match_header=X-Trunk: $name/
        s/^;media_address=.*/media_address=$at/
        s/^;bind_rtp_to_media_address/bind_rtp_to_media_address/" | sed "${edits[@]}" >>"$run/etc/pjsip.conf"
}

# number LAST TRUNK: the business number +1214555LAST, which leads there.
number() {
    cat >>"$out/bridge.toml" <<TOML
[[number]]
number = "+1214555$1"
password_file = "password"
keying = "dtls"
pbx = "$2"

TOML
}

# telephone HOST CODEC: an endpoint of Asterisk for the phone at 127.0.3.HOST.
telephone() {
    cat >>"$run/etc/pjsip.conf" <<CONF
[phone$1]
type=aor
contact=sip:phone@127.0.3.$1:5060
[phone$1]
type=identify
endpoint=phone$1
match=127.0.3.$1
[phone$1]
type=endpoint
transport=transport-udp
aors=phone$1
context=phones
disallow=all
allow=$2
direct_media=yes
media_address=$pbx
bind_rtp_to_media_address=yes
CONF
}

configure_trunks() {
    local changes='reinvite = "local"' moves=(direct_media=yes moh_passthrough=yes) last
    configure pjsip.conf
    # Trunks share the bridge's address: the header comes first.
    printf '%s\n' "[global]" "type=global" "endpoint_identifier_order=header,ip,username" >>"$run/etc/pjsip.conf"
    cp tests/asterisk/trunks.toml "$out/bridge.toml"
    trunk ulaw 11 '' allow=ulaw
    trunk alaw 12 '' allow=alaw
    trunk g722 13 '' allow=g722
    trunk opus 14 '' allow=opus
    trunk info 15 'dtmf = "info"' allow=ulaw dtmf_mode=info
    trunk inband 16 'dtmf = "inband"' allow=alaw dtmf_mode=inband
    trunk local 17 "$changes" allow=ulaw "${moves[@]}"
    trunk reject 18 '' allow=ulaw moh_passthrough=yes
    trunk timers 19 "$changes" allow=ulaw timers=always timers_sess_expires=90 timers_min_se=90
    trunk tcp 20 "$changes"$'\ntransport = "tcp"\nsrtp = true' allow=alaw moh_passthrough=yes media_encryption=sdes
    for last in 21 22 23 24; do
        number "02$last" local
    done
    number 0225 tcp
    number 0226 tcp
    for last in 31 32; do
        number "02$last" reject
    done
    for last in 81 82 83 84 85 86 87 89; do
        telephone "$last" ulaw
    done
}

# calling NAME HOST LAST OPTION…: a user at 127.0.3.HOST calls +1214555LAST; goes on without waiting.
calling() {
    $in_place timeout --kill-after=5 90 "$wabridge" sim meta --listen "127.0.3.$2:5061" --bridge "$bridge:5061" \
        --hostname bridge.example.com --ca "$certs/ca.pem" --cert "$certs/meta.pem" --key "$certs/meta.key" \
        --password-file "$out/password" call --json --from "+121955507$2" --to "+1214555$3" "${@:4}"
}
user_is_calling() {
    start "$out/user-$1.json" calling "$@"
    calls+=("$pid")
}
# phone_waits HOST OPTION…: the phone there waits for a call.
phone() {
    $in_place timeout --kill-after=5 90 python3 -B tests/asterisk/phone "127.0.3.$1" "${@:2}"
}
phone_waits() {
    start "$out/phone$1.json" phone "$@"
    calls+=("$pid")
    within 5 bound udp "127.0.3.$1" 5060
}
all_over() {
    local one
    for one in "${calls[@]}"; do
        within "$1" gone "$one" || return 1
    done
}
# of_user LAST: from the report of all calls to users, that of +1219555LAST.
of_user() {
    sed 's/{"direction"/\n&/g' "$out/answered.json" | grep "\"to\":\"+1219555$1\"" >"$out/answered-$1.json"
}

# records_say LAST COUNT PATTERN: there are so many records of calls of +1214555LAST, and each has the pattern.
records_say() {
    local lines
    lines=$(grep "\"number\":\"+1214555$1\"" "$out/records.jsonl")
    [ "$(grep -c . <<<"$lines")" = "$2" ] && [ "$(grep -cE "$3" <<<"$lines")" = "$2" ]
}
# fits NAME LOG CONDITION…: like `check`, while other calls may be up.
fits() {
    local name="$1, $way" log=$2
    shift 2
    if "$@"; then
        ok "$name"
    else
        not_ok "$name" "not so: $*"
        show "$log"
    fi
}
user_heard() {
    says "$out/user-$1.json" "$in_order" '"status":200' "${@:2}"
}
user_answered() {
    of_user "$1" && says "$out/answered-$1.json" '"status":200' '"heard":\{"ok":true' '"complaints":\[\]' "${@:2}"
}

# trunks_carry_calls: all of it, with the daemon and the Asterisk that run.
trunks_carry_calls() {
    local trunk host codec
    console "pjsip set logger on" >/dev/null
    calls=()
    start "$out/answered.json" sim answer --calls 10 --digits 123 --hears echo
    local answering=$pid
    within 5 bound tcp "$meta" 5061
    # Those that outlive a refresh of their session timer, while the others are made.
    user_is_calling timers 59 0219 --seconds 50 --hears echo
    local timers=$pid
    console "channel originate PJSIP/+12195550819@timers extension long@test" >/dev/null

    while read -r trunk host _; do
        user_is_calling "$trunk" "5$host" "021$host" --seconds 8 --digits 456 --hears echo --expect-digits '90#'
    done <<<"$trunks"
    calls=("${calls[@]:1}")
    all_over 20
    console "dialplan show globals" >"$out/globals-users"
    while read -r trunk host _; do
        console "channel originate PJSIP/+1219555081$host@$trunk extension both$trunk@test" >/dev/null
    done <<<"$trunks"
    sleep 10
    console "dialplan show globals" >"$out/globals-phones"

    calls=()
    for host in 84 85; do phone_waits "$host"; done
    for host in 81 86 89; do phone_waits "$host" --hold-after 1 --hold-for 2; done
    phone_waits 82 --hold-after 1 --refer-after 2 --refer-to 83
    phone_waits 83
    phone_waits 87 --says 580 --hold-after 1 --hold-for 2
    console "channel originate PJSIP/phone84 extension consult@test" >/dev/null
    user_is_calling holds 61 0221 --seconds 8
    user_is_calling moves 62 0222 --seconds 8
    user_is_calling blind 63 0223 --seconds 8 --hears echo
    user_is_calling attended 64 0224 --seconds 8
    user_is_calling secure 65 0225 --seconds 8
    user_is_calling stream 70 0226 --seconds 8 --hears echo
    user_is_calling keeps 66 0231 --seconds 8
    user_is_calling refused 67 0232 --seconds 8 --hears echo
    console "channel originate PJSIP/phone87 extension +12195550817@by-local" >/dev/null
    console "channel originate PJSIP/+12195550818@local extension refer17@test" >/dev/null
    console "channel originate PJSIP/+12195550820@tcp extension refer20@test" >/dev/null
    calls+=("$timers" "$answering")
    fits "all calls come to their end" "$out/daemon-trunks.log" all_over 60
    fits "and leave no channel and no media port" "$out/daemon-trunks.log" within 15 quiet
    console "dialplan show globals" >"$out/globals-transfers"
}

# trunks_are_judged: what came of it.
trunks_are_judged() {
    local trunk host codec number
    while read -r trunk host codec; do
        fits "a user calls a PBX by $trunk: both are heard, and digits get there both ways" "$out/user-$trunk.json" \
            user_heard "$trunk" '"digits_received":"90#"'
        fits "Read() collects that user's digits by $trunk" "$out/globals-users" \
            grep -q "^ *DIGITS_user$host=456$" "$out/globals-users"
        fits "a PBX calls a user by $trunk: both are heard, and digits get there" "$out/answered.json" \
            user_answered "081$host" '"digits_received":"90#"'
        fits "Read() collects the called user's digits by $trunk" "$out/globals-phones" \
            grep -q "^ *DIGITS_$trunk=123$" "$out/globals-phones"
        fits "records of both calls say $codec for the PBX and Opus for Meta" "$out/records.jsonl" records_say "021$host" 2 \
            "\"meta_media\":\{\"codec\":\"opus/48000/2\".*\"pbx_media\":\{\"codec\":\"$codec\""
    done <<<"$trunks"
    changes_are_judged
    fits "calls outlive the session timer of a PBX that refreshes" "$out/user-timers.json" user_heard timers
    fits "a call to a user outlives it as well" "$out/answered.json" user_answered 0819
    for number in +12145550219 +12195550819; do
        fits "Asterisk has refreshed with $number, and the bridge has taken it" "$out/user-timers.json" answered_in_log \
            UPDATE "$number" 200
    done
}

# changes_are_judged: hold, media straight to the phone, transfer; with reinvite = "local", and where it is refused.
changes_are_judged() {
    local straight='"from_at_last":\["127.0.3.1"\]' taken='"statuses":\["INVITE200","INVITE200"\]'
    fits "direct_media: sound goes to and from the phone itself, through a hold and after it" "$out/phone81.json" \
        says "$out/phone81.json" '"at_last":true' "$straight" "$taken"
    fits "the user hears one stream all the while" "$out/user-holds.json" user_heard holds
    fits "so does a user who was called" "$out/answered.json" user_answered 0817
    fits "a phone that is given the call inside the PBX hears the user, straight" "$out/phone83.json" \
        says "$out/phone83.json" '"at_last":true' "$straight"
    fits "and the user hears it" "$out/user-moves.json" user_heard moves
    fits "a blind transfer by REFER leads the user to the new extension" "$out/user-blind.json" user_heard blind
    fits "an attended one joins the user to whom was asked before" "$out/user-attended.json" user_heard attended
    fits "and that phone hears the user" "$out/phone85.json" says "$out/phone85.json" '"at_last":true' "$straight"
    fits "hold under TCP and SRTP" "$out/user-secure.json" user_heard secure
    fits "and the phone that held hears the user afterwards" "$out/phone89.json" \
        says "$out/phone89.json" '"at_last":true' "$taken"
    fits "transfer under TCP and SRTP" "$out/user-stream.json" user_heard stream
    fits "a PBX that called is transferred too" "$out/answered.json" user_answered 0818
    fits "and under TCP" "$out/answered.json" user_answered 0820
    fits "Asterisk is told how each transfer went" "$out/globals-transfers" transfers_are_told
    fits "a hold that the bridge refuses leaves the call as it is" "$out/user-keeps.json" user_heard keeps
    fits "and the phone that held hears the user afterwards" "$out/phone86.json" \
        says "$out/phone86.json" '"at_last":true' "$taken"
    fits "it was refused with 500" "$out/user-keeps.json" answered_in_log INVITE +12145550231 500
    fits "so does a transfer" "$out/user-refused.json" user_heard refused
    fits "it was refused with 405" "$out/user-refused.json" answered_in_log REFER +12145550232 405
}
# answered_in_log METHOD NUMBER STATUS: Asterisk sent such a request to the Contact with this number, and heard that of it.
answered_in_log() {
    tr -d '\r' <"$run/log/messages" | awk -v method="$1" -v number="$2" -v status="$3" '
        $1 == method && index($2, "sip:" number "@") == 1 { asked = 1; next }
        $1 == "SIP/2.0" { code = $2 }
        $1 == "Call-ID:" && asked { calls[$2]; asked = 0 }
        $1 == "Call-ID:" { call = $2 }
        $1 == "CSeq:" && $3 == method && code == status && call in calls { found = 1 }
        /^$/ { code = "" }
        END { exit !found }'
}
transfers_are_told() {
    local told
    for told in REFERRED17=SUCCESS REFERRED20=SUCCESS ATTENDED=SUCCESS REFUSED=FAILURE; do
        grep -q "^ *$told$" "$out/globals-transfers" || return 1
    done
}

# What trunks speak, and the codec of their records: name, last digit of address and number, codec.
trunks='ulaw 1 PCMU/8000
alaw 2 PCMA/8000
g722 3 G722/8000
opus 4 opus/48000/2
info 5 PCMU/8000
inband 6 PCMA/8000'

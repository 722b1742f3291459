# Becomes nginx, once the names of AGENTGAUGE_HOSTS stand in a file for the maps of nginx.conf.
# What is no name is left out, so that nothing here becomes a directive; two backslashes before a name keep it from
# being one of the words that a map knows, such as default.
set -eu

printf '%s' "proxy host.docker.internal $(hostname) ${AGENTGAUGE_HOSTS:-}" |
    LC_ALL=C tr 'A-Z, \t\r' 'a-z\n\n\n\n' |
    LC_ALL=C awk '
        /^\[/ { sub(/^\[/, ""); sub(/\].*/, "") }
        !/:.*:/ { sub(/:.*/, ""); sub(/\.$/, "") }
        length($0) < 254 && !seen[$0]++ && (/^(\*\.)?([a-z0-9_-]+\.)*[a-z0-9_-]+$/ || /^[0-9a-f:]+$/) {
            print "\\\\" $0 " 1;"
        }' > /tmp/hosts.map

exec nginx -g 'daemon off;'

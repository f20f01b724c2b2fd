#!/usr/bin/env bash
# The same with curl: generate, hit, see why, and purge. Needs a running service (`make run`).
set -euo pipefail

base=${CACHE_SERVICE_URL:-http://127.0.0.1:8000}
token=${CACHE_SERVICE_ADMIN_TOKEN:-$(cat data/admin-token)}
json='Content-Type: application/json'
request='{"model": "gpt-image-2.5-flare", "size": "1024x1024", "prompt": "A lighthouse on a cliff at sunset, oil painting"}'

status() { grep -i '^cache-status:'; }

echo '# generated, or a hit if this ran before'
curl -sS -D - -o picture.json "$base/v1/images/generations" -H "$json" -H 'Cache-Tag: example' -d "$request" | status

echo '# an exact hit'
curl -sS -D - -o picture.json "$base/v1/images/generations" -H "$json" -d "$request" | status

echo '# a paraphrase; the decision is in the body'
curl -sS "$base/v1/generate" -H "$json" -d '{"operation": "images", "request": {"model": "gpt-image-2.5-flare",
    "size": "1024x1024", "prompt": "An oil painting of a lighthouse on a cliff at sunset"}}' | head -c 400
echo ' …'

echo '# only what is stored, and only exactly that: 504'
curl -sS -o /dev/null -w '%{http_code}\n' "$base/v1/generate" -H "$json" -H 'Cache-Control: only-if-cached, exact-only' \
    -d '{"operation": "images", "request": {"model": "gpt-image-2.5-flare", "prompt": "never asked before"}}'

echo '# how many entries have the tag, then away with them'
for dry_run in true false; do
    curl -sS "$base/admin/purge" -H "$json" -H "Authorization: Bearer $token" -d "{\"tag\": \"example\", \"dry_run\": $dry_run}"
    echo
done

rm -f picture.json

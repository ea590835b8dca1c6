"""Signs with the reference library of Standard Webhooks, sends to the URL given, and prints the statuses."""

import datetime
import os
import sys
import urllib.error
import urllib.request

import standardwebhooks

URL, BODY = sys.argv[1], os.environ["BODY"]
WEBHOOK = standardwebhooks.Webhook(os.environ["WEBHOOK_SECRET"])
OTHER = standardwebhooks.Webhook("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=")


def send(body, sent, signature):
    headers = {
        "content-type": "application/cloudevents-batch+json",
        "webhook-id": "msg_python",
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": signature,
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(URL, body.encode(), headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


now = datetime.datetime.now(datetime.timezone.utc)
old = now - datetime.timedelta(minutes=10)
good = WEBHOOK.sign("msg_python", now, BODY)
rotated = OTHER.sign("msg_python", now, BODY) + " " + good
print(
    f"signed {send(BODY, now, good)}, other body {send(BODY + ' ', now, good)}, "
    f"rotated {send(BODY, now, rotated)}, old {send(BODY, old, WEBHOOK.sign('msg_python', old, BODY))}"
)

"""A Lambda function that works off sealed messages of an SQS queue.

SEALQ_KEY_ID is the ARN of the KMS key, and the event source mapping has
ReportBatchItemFailures. To try it without an account:

    cd ../lambda && go run ./try event.json python ../python/function.py
"""

import base64
import json
import os
import sys

import boto3
from botocore.config import Config
from sealed import Sealer

KEY_ARN = os.environ["SEALQ_KEY_ID"]
RESERVE = 5_000  # milliseconds for the message that is begun last, and the report

# A call that hangs must end before the function does: the default is a minute.
kms = boto3.client(
    "kms",
    region_name=KEY_ARN.split(":")[3],
    config=Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2}),
)
sealers = {}  # by queue; a mapping has one


def work(text, attributes, record):
    print(f"order: {len(text)} characters, received {record['attributes']['ApproximateReceiveCount']} times")


def handler(event, context):
    records = event if isinstance(event, list) else event.get("Records", [])  # a pipe passes a list
    if not records or any(r.get("eventSource") != "aws:sqs" or not r.get("messageId") for r in records):
        raise ValueError("not an event of SQS")  # an empty response would mean success
    failures, failed_groups = [], set()
    for record in records:
        queue, group = record["eventSourceARN"], record["attributes"].get("MessageGroupId")
        try:
            if queue.endswith(".fifo") and (queue, group) in failed_groups:
                raise RuntimeError("a message before it in its group failed")
            if context and context.get_remaining_time_in_millis() < RESERVE:
                raise TimeoutError("not enough time was left")
            if queue not in sealers:
                sealers[queue] = Sealer(queue, KEY_ARN, kms)
            work(*sealers[queue].open(received(record)), record)
        except Exception as e:  # one bad message must not stop the others
            print(f"message {record['messageId']}: {type(e).__name__}: {e}", file=sys.stderr)
            failed_groups.add((queue, group))
            failures.append({"itemIdentifier": record["messageId"]})
    if len(failures) == len(records):
        # A mapping without ReportBatchItemFailures ignores the report and
        # deletes the batch: in an outage of KMS that would be the backlog.
        raise RuntimeError(f"none of {len(records)} messages succeeded")
    return {"batchItemFailures": failures}


def received(record):
    """A record of an event as receive_message returns it."""
    attributes = {}
    for name, a in record["messageAttributes"].items():
        attributes[name] = {"DataType": a["dataType"]}
        if "binaryValue" in a:  # base64, here and not in receive_message
            attributes[name]["BinaryValue"] = base64.b64decode(a["binaryValue"])
        else:
            attributes[name]["StringValue"] = a.get("stringValue")
    return {"Body": record["body"], "Attributes": record["attributes"], "MessageAttributes": attributes}


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(json.dumps(handler(json.load(file), None)))

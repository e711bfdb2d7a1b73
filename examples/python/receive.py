"""Prints a batch of messages, texts and attributes: receive.py QUEUE_URL KEY_ARN"""

import sys

import boto3
import branchkey
from sealed import NotOpened, Sealer, queue_arn

url, key_arn = sys.argv[1:]
sqs = boto3.client("sqs")
sealer = Sealer(queue_arn(sqs, url), key_arn, keyring=branchkey.configured(key_arn))
received = sqs.receive_message(
    QueueUrl=url,
    MaxNumberOfMessages=10,
    WaitTimeSeconds=5,
    MessageAttributeNames=["All"],  # without "sealq" there is no header, and nothing opens
    MessageSystemAttributeNames=["DeadLetterQueueSourceArn"],
)
failed = False
for message in received.get("Messages", []):
    try:
        text, attributes = sealer.open(message)
    except NotOpened as e:
        # Not deleted: the queue's redrive policy decides what becomes of it.
        print(f"message {message['MessageId']}: {e}", file=sys.stderr)
        failed = True
        continue
    print(text)
    for name, a in sorted(attributes.items()):
        print(f"  {name}: {a.get('StringValue') or a['BinaryValue'].hex()}")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
sys.exit(failed)

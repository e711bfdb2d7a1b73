"""Prints the texts of a batch of messages: receive.py QUEUE_URL KEY_ARN"""

import sys

import boto3
from sealed import ATTRIBUTE, NotOpened, Sealer, queue_arn

url, key_arn = sys.argv[1:]
sqs = boto3.client("sqs")
sealer = Sealer(queue_arn(sqs, url), key_arn)
received = sqs.receive_message(
    QueueUrl=url,
    MaxNumberOfMessages=10,
    WaitTimeSeconds=5,
    MessageAttributeNames=[ATTRIBUTE],  # without it there is no header, and nothing opens
    MessageSystemAttributeNames=["DeadLetterQueueSourceArn"],
)
failed = False
for message in received.get("Messages", []):
    try:
        text = sealer.open(message)
    except NotOpened as e:
        # Not deleted: the queue's redrive policy decides what becomes of it.
        print(f"message {message['MessageId']}: {e}", file=sys.stderr)
        failed = True
        continue
    print(text)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
sys.exit(failed)

"""Sends a sealed message: send.py QUEUE_URL KEY_ARN TEXT"""

import sys

import boto3
import branchkey
from sealed import Sealer, queue_arn

url, key_arn, text = sys.argv[1:]
sqs = boto3.client("sqs")
sealer = Sealer(queue_arn(sqs, url), key_arn, keyring=branchkey.configured(key_arn))
sqs.send_message(QueueUrl=url, MessageBody=sealer.seal(text))

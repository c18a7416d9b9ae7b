"""Phrases that an answer should not have, and those that speak past the reader to the machine behind."""

from __future__ import annotations

import re

_CANNOT = (
    r"(?:can(?:no|['’])?t|(?:am|['’]m) (?:not able|unable) to|(?:am|['’]m) not (?:programmed|designed|allowed) to|won['’]t)"
)
_SERVE = r"(?:assist|help|fulfil|comply|provide|answer|do that)"
BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large language|language)(?: language)?(?: model| assistant| chatbot)?\b"
    r"[^.\n]{0,20}(?:,|\bi\b)"
    r"|\bi(?:['’]?m| am) (?:just |only |merely )?an? (?:ai|large|artificial intelligence)(?: language)?"
    r" (?:model|assistant|chatbot)\b"
    r"|\bmy (?:knowledge|training)(?: data)? (?:cut-?off|only goes)\b"
    rf"|\bi(?:['’]m| am) (?:really |very |so )?sorry,? but (?:as an ai|i {_CANNOT} {_SERVE})"
    rf"|^\W*(?:sorry,? (?:but )?|unfortunately,? |i apologi[sz]e,? (?:but )?)i {_CANNOT} {_SERVE}"
    r"|\bi (?:do not|don['’]t) have (?:personal (?:opinions|feelings|experiences)|access to real-time)\b"
    r"|\bi (?:was|am)(?: an? [\w -]{0,40})? (?:trained|developed|created) by openai\b"
    r"|\bals (?:ein )?ki-(?:sprach)?(?:modell|assistent)\b"
    r"|\ben tant (?:que (?:modèle de langage|ia)|qu['’]intelligence artificielle)\b"
    r"|\bcomo (?:un )?modelo de lenguaje\b|\bregenerate response\b",
    re.IGNORECASE | re.MULTILINE,
)
OVERRIDE = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass) (?:all |any |everything )?(?:of )?(?:the |your |my |these |those )?"
    r"(?:previous|prior|above|earlier|preceding|system|original|initial)(?: and \w+)? "
    r"(?:instructions?|prompts?|messages?|rules|directions|guidelines|context|training)\b"
    r"|\b(?:ignore|disregard|forget) (?:everything|all) (?:above|before|you (?:were|have been|know))\b"
    r"|\b(?:reveal|print|show|repeat|output|leak) (?:me )?(?:your|the) (?:hidden |secret |full )?"
    r"system (?:prompt|message)\b"
    r"|\byou are (?:now |no longer )?(?:DAN\b|in (?:developer|jailbreak|god) mode|bound by|unrestricted|jailbroken)"
    r"|\b(?:do anything now|developer mode enabled|jailbreak mode)\b"
    r"|\b(?:note|message|instructions?|attention) (?:to|for) (?:the |any |all )?"
    r"(?:ai|llm|language model|reviewer|grader|annotator|assistant)s?\b"
    r"|\b(?:rate|mark|accept|approve|score) this (?:row|example|answer|submission|entry) (?:as |with )?(?:the )?"
    r"(?:accepted|good|correct|perfect|highest|excellent|\d)"
    r"|<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|begin_of_text|(?:start|end)_header_id|channel|message)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<\|?(?:end▁of▁sentence|begin▁of▁sentence)\|?>"
    r"|^#{2,3} ?(?:system|instruction|response|assistant)s?:\s*$",
    re.IGNORECASE | re.MULTILINE,
)

"""Which questions ask for the words that are spoken, all of them and nothing else.

Only such an answer is the string that the connector's CTC spells, so only such questions may be decoded jointly.
The rule reads the question alone:

1. it must *ask for the words*: a wording of :data:`ASKS`: "transcribe …", "write down/out … said/spoken/hear", "what is
   said", "what does she say", "what words are spoken", "subtitles", "speech to text" … (and their German, French,
   Spanish and Chinese forms for the commonest);
2. it must ask for *nothing more or less*: no word of :data:`NARROWS`: a stretch ("before", "first", "last"), a part
   ("which colour", "how many", "number"), another sense ("see", "picture", "sound", "background"), another form
   ("translate", "summarise", "language", "in German"), "and what …".

Wrong in the doubtful case costs little: a question that is missed is answered by the language model alone.
"""

from __future__ import annotations

import re

_WHO = (
    r"(?:he|she|it|they|i|you|someone|somebody|anyone|anybody|people|(?:the |this |that |these |those |his |her |an? )?"
    r"(?:\w+ )?(?:speakers?|persons?|people|m[ae]n|wom[ae]n|narrators?|voices?|reader|boy|girl|child|children|lady|guy|"
    r"customers?|clients?|callers?|presenters?|actors?|speech|audio|recording|video|clip|sound track))"
)
_SAY = r"(?:say|says|said|saying|speak|speaks|spoken|speaking|utter|utters|uttered|read|reading|talk|talking)"
_WRITE = (
    r"(?:write|type|note|jot|put|take|spell|give|show|print|repeat|turn|convert|render|report|provide|list|tell|"
    r"let|output|return|produce|make|create|get|need|want|quote|recite|copy)"
)
ASKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\btranscri(?:be|ption|pt|pts|bing)\b",
        r"\b(?:sub ?titles?|captions? for the speech|dictation|verbatim)\b",
        r"\bspeech\b.*\b(?:to|into|as|in) (?:text|words|writing)\b",
        r"\bvoice to text\b",
        rf"\bwhat(?:'s| is| was| are| were| has been| is it that is|)(?: (?:being|been|he|she|they))? {_SAY}\b",
        rf"\bwhat (?:do|does|did|can you hear|is|are|was|were|has|have) {_WHO}(?: \w+ly)? {_SAY}\b",
        rf"\bwhat (?:exactly )?(?:do|did|can) (?:you|i|we) hear {_WHO} {_SAY}\b",
        rf"\bwhat (?:do|does|did|is|are|was|were) (?:he|she|they|(?:the|this|that) [a-z ]{{1,40}}?)(?: just| then)? "
        rf"{_SAY}\b",
        r"\bwhat (?:are|were) the (?:exact |spoken )?words\b",
        r"\b(?:caption|what) (?:the |this )?speech\b|\brepeat (?:what you hear|after)\b",
        rf"\bwhat {_WHO}(?: is| are| was| were|) {_SAY}\b",
        rf"\b(?:which|what) (?:exact )?(?:words?|sentences?|phrases?|lines?|text) "
        r"(?:is|are|was|were|do|does|did|can)\b.*"
        rf"\b(?:{_SAY[3:-1]}|hear|heard)\b",
        rf"\b{_WRITE}\b.*\b(?:{_SAY[3:-1]}|words?|speech|spoken words|sentence)\b",
        rf"\b{_WRITE}\b.*\bhear\b.*\b(?:{_SAY[3:-1]})\b",
        r"\b(?:the )?(?:exact |spoken )words(?:,? please)?[.?!]*$",
        r"\bwas (?:wird|wurde|hat|sagt|sagen)\b.*\b(?:gesagt|gesprochen|er|sie|sprecher\w*|person|mann|frau)\b",
        r"\b(?:schreib\w*|transkribier\w*)\b|\bgesprochene?n? text\b|\bwelche (?:wörter|worte)\b",
        r"(?:逐字|转成文字|文字内容|转写)",
        r"\bqu(?:'|e |')(?:est-ce qu'?e? ?|)(?:dit|dit-on|dit-il|dit-elle|ils? dit|elle dit|on dit|il dit)\b",
        r"\b(?:transcri[st]|transcri[bp]\w*)\b",
        r"\bqué (?:dice|dicen|se dice)\b",
    )
)
"""A question that asks for the words matches one of these (lower case, white space single)."""
NARROWS = re.compile(
    r"(?:^|\b(?:tell me|say|and|out|know|down|of) )who\b|"
    r"\b(?:before|after|ahead|follow\w*|preced\w*|succeed\w*|until|till|once(?! more| again)|while|during|"
    r"earlier|later|"
    r"first|last|begin\w*|start\w*|ends?|ending|second|third|next|"
    r"how (?:many|much|often|long|old)|count\w*|number|digits?|letters?|colou?rs?|names?|fruit|drink|size|topic|about|"
    r"whose|whom|why|when|where|which (?!(?:exact )?(?:words?|sentences?|phrases?|lines?|text)\b)\w+|"
    r"see|seen|seeing|shown?|visible|look\w*|pictures?|images?|photos?|scene|"
    r"besides?|background|noises?|sounds? (?!track)\w*|music|sung|sings?|singing|"
    r"translat\w*|summar\w*|sum up|gist|paraphras\w*|"
    r"in (?:german|french|spanish|chinese|english|one|a few|short|brief)|"
    r"languages?|accent|tone|mood|feel\w*|mean\w*|explain|describe|answer\w*|question\w*|phonem\w*|times?|timestamps?|"
    r"own words|signs?|titles?|screen|labels?|boards?|banners?|dogs?|cats?|birds?|animals?|"
    r"order\w*|ask\w*|mention\w*|true|whether|if)\b"
)
"""A question with one of these wants more or less than the words."""
YES_NO = re.compile(
    r"^(?:please )?(?:is|are|was (?!sag|wird|wurde|hat\b)|were|do|does|did|has|have|will|would|should)\b"
)
"""A question that begins so is answered by yes or no."""


def asks_for_words(question: str) -> bool:
    """Whether a question asks for a transcript of what is spoken (see the module's description).

    Args:
        question: in the user's wording.
    """
    text = " ".join(question.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    if NARROWS.search(text) or YES_NO.search(text):
        return False
    return any(pattern.search(text) for pattern in ASKS)

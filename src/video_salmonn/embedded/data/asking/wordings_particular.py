"""Questions about voices, words, colours and kinds of things."""

from __future__ import annotations

from video_salmonn.embedded.data.asking.lines import Lines

PARTICULAR: dict[str, Lines] = {
    "gender": Lines(
        (
            "(Is|Would you say) (the speaker|this speaker|the voice|this voice|the one speaking) (a man or a woman|"
            "male or female|a man's or a woman's|a woman or a man|female or male)?",
            "(Who|What kind of person) is (speaking|talking)( here|), a (man or a woman|woman or a man)?",
            "(Do|Can) (I|you) hear a (man or a woman|woman or a man)?",
            "Does a (man or a woman|woman or a man) (speak|talk)( here|)?",
        ),
        ("Man or woman?", "Is that voice male or female?"),
        ("What is the sex of the person talking?", "Would you call this a female or a male voice?",
         "A man or a woman, who is that?", "Is it him or her speaking, a man or a woman?"),
    ),
    "gender?": Lines(
        (
            "(Is|Would you say) (the speaker|this|the voice|the one speaking) (is |)a {who}?",
            "(Do|Can) (you|I) hear a {who}( speaking| talking| here|)?",
            "(Is|Does) a {who} (speaking|talking|to be heard)?",
            "Does (the voice|it) sound like a {who}?",
        ),
        ("Was this spoken by a {who}?",),
        ("Am I hearing a {who}?", "Is a {who} the one who talks?", "Could the speaker be a {who}?"),
    ),
    "language": Lines(
        (
            "(What|Which) language (is|was) (used|spoken here|it|this|spoken in this)?",
            "(In what|In which) language (does the speaker talk|do they speak|is it spoken|is this)?",
            "(Name|Tell me) the language( of the speech| that is spoken| they speak|).",
            "(What|Which) language (do you hear|does this person speak|is the speech in)?",
            "What (is the language|tongue is spoken)( here|)?",
        ),
        ("Do you know which language that is?",),
        ("The speaker uses which language?", "What language am I hearing?", "Can you recognise the language?"),
    ),
    "language?": Lines(
        (
            "(Is|Was) (this|it|the speech|that) (in |){language}?",
            "(Do|Does) (they|the speaker|this person) speak {language}( here|)?",
            "(Is|Do you hear) {language} (being |)(spoken|speech)( here|)?",
            "Are they (speaking|talking in) {language}?",
        ),
        ("Would you say that is {language}?",),
        ("Am I hearing {language}?", "Is the language {language}?", "Could this be {language} speech?"),
    ),
    "word?": Lines(
        (
            "(Is|Was) the word {word} (said|spoken|used|mentioned|in it)( here| in this|)?",
            "(Do|Can) you hear the word {word}?",
            "Does (the speaker|anybody|the person|this person) (say|mention|use the word) {word}?",
            "Is {word} (mentioned|said|one of the words)( here|)?",
        ),
        ("Did somebody say {word}?",),
        ("Does {word} come up in what is said?", "Can the word {word} be heard?", "Is there talk of {word}?"),
    ),
    "which": Lines(
        (
            "(Which|What) {category} (is mentioned|is said|does the speaker mention|is named|do you hear|comes up)( "
            "here| in it|)?",
            "(Name|Tell me|Give me) the {category} (that is mentioned|the speaker names|they talk about|that is said).",
            "(Which|What) {category} (do they talk about|is spoken of|is it about)?",
            "What (is|was) the {category} (in the speech|the speaker mentions|that is spoken)?",
        ),
        ("There is a {category} in the speech, which?",),
        ("The speaker names a {category}, which one?", "Say which {category} is talked about.",
         "Which {category} did they say?"),
    ),
    "first-word": Lines(
        (
            "(What|Which) (is|was) the (first|very first) word( said| spoken| you hear|)?",
            "(What|Which) word (comes first|is spoken first|is said first|begins it)?",
            "With (what|which) word does (it|the speech|the speaker|the recording) (begin|start)?",
            "(Name|Give) the (first|opening) word( of the speech|).",
        ),
        ("How does the speech begin?",),
        ("Which word opens the sentence?", "What's the first thing said, one word only?", "The first word, please."),
    ),
    "last-word": Lines(
        (
            "(What|Which) (is|was) the (last|very last) word( said| spoken| you hear|)?",
            "(What|Which) word (comes last|is spoken last|is said last|ends it)?",
            "With (what|which) word does (it|the speech|the speaker|the recording) (end|finish|stop)?",
            "(Name|Give) the (last|closing) word( of the speech|).",
        ),
        ("How does the speech end?",),
        ("Which word closes the sentence?", "What's the last thing said, one word only?", "The final word, please."),
    ),
    "wall": Lines(
        (
            "(What|Which) colour (does the wall have|has the wall|is the wall you see|is the background you see|is "
            "behind the person)?",
            "(What|Which) (colour|color) (is|do you see) behind the (man|speaker|person|head)?",
            "(Name|Tell me) the (colour|color) of the (wall|background)( in the picture| that you see|).",
            "What is the (colour|color) of the (wall|backdrop|background)( behind them|)?",
            "The (wall|background) (has what|is of what) (colour|color)?",
        ),
        ("How is the wall coloured?",),
        ("Look at the wall: what colour is it?", "Which colour is painted on the wall?",
         "What colour stands behind the speaker?", "What colour is the backdrop?"),
    ),
    "spoken-colour": Lines(
        (
            "(Which|What) (colour|color) (is spoken|is said|does the speaker say|do you hear|is named aloud)?",
            "(Name|Tell me) the (colour|color) (that is said|the speaker says|in the speech).",
            "(Which|What) (colour|color) (is in the words|does the voice say|comes in the sentence)?",
            "(What|Which) (colour|color) (does he say|is spoken of|is in the speech)( here|)?",
        ),
        ("Which colour word is heard?",),
        ("Listen: which colour do they say?", "The spoken colour is which?", "What colour do the words name?"),
    ),
    "colour": Lines(
        (
            "(What|Which) (colour|color) (is|has) the {thing}( here| in the picture|)?",
            "(What|Which) (colour|color) (does|would you say) the {thing} (have|has)?",
            "(Name|Tell me) the (colour|color) of the {thing}.",
            "What is the (colour|color) of (the|this) {thing}?",
        ),
        ("How is the {thing} coloured?",),
        ("Is the {thing} red, blue, or what?", "The {thing} is of which colour?",
        "What colour would you call the {thing}?"),
    ),
    "colour?": Lines(
        (
            "Is (the|this) {thing} {colour}( in colour|)?",
            "(Would you say|Do you think) the {thing} is {colour}?",
            "(Do|Can) you see a {colour} {thing}( here|)?",
            "Is (this|it|that) a {colour} {thing}?",
            "Does the {thing} look {colour}( to you|)?",
            "Is the colour of (the|this) {thing} {colour}?",
            "Is the {thing} (mostly|mainly) {colour}?",
            "Has the {thing} (a|the) {colour} colour?",
            "Is {colour} the colour of (the|this) {thing}?",
            "The {thing} (here|you see) is {colour}, (right|is it)?",
            "(Am I right that|Is it true that) the {thing} is {colour}?",
            "Can you (tell|say) if the {thing} is {colour}?",
        ),
        ("Would the colour be {colour}, for the {thing}?",),
        ("Would you call the {thing} {colour}?", "Tell me whether the {thing} is {colour}."),
    ),
    "material": Lines(
        (
            "(What|Which) (material|stuff) (is it|is this) (made of|made from)?",
            "What (is|was) (this|the object|it|the thing) made (of|from)?",
            "(Name|Tell me) the material( of this| of the object| it is made of|).",
            "(What|Which) material (is|do you see) (this|here)?",
            "Of (what|which) material is (this|the object|it)?",
        ),
        ("What does this consist of?",),
        ("Which material would you say this is?", "What stuff is the object of?",
        "Into which recycling bin: what is it made of?"),
    ),
    "garment": Lines(
        (
            "(What|Which) (garment|item of clothing|clothing|article of clothing) (is this|is it|is shown|do you see)?",
            "What (kind|piece|sort) of (clothing|garment|clothes) (is this|is it|do you see|is shown)?",
            "(Name|Identify) the (garment|clothing|item of clothing).",
            "What would (I|you|one) (wear|put on) here?",
        ),
        ("Which thing to wear is that?",),
        ("What do you call this garment?", "What item to wear is in the photo?", "Which clothes are these?"),
    ),
    "animal": Lines(
        (
            "(Which|What) (animal|creature) (is this|is it|is shown|do you see|can be seen|is pictured)( here|)?",
            "What (kind|sort|type) of animal (is this|is it|do you see|is shown)?",
            "(Name|Identify) the (animal|creature)( in the picture|).",
            "What is (the name of this animal|this animal called|this creature)?",
            "(Which|What) animal (appears|is) in the (picture|image)?",
        ),
        ("What beast is that?",),
        ("Which animal would that be?", "What's the animal in view?", "Can you name the animal?"),
    ),
    "heard-animal": Lines(
        (
            "(Which|What) animal (is heard|can be heard|is making the noise|makes this sound|is it)( here|)?",
            "What (kind|sort|type) of animal (do you hear|makes that noise|is this)?",
            "(Name|Identify) the animal( that you hear| in the sound|).",
            "(Which|What) animal (sounds like that|is in the recording|makes itself heard)?",
            "(By|From) (which|what) animal (is the sound|does this come|is it)?",
        ),
        ("What animal is that noise?",),
        ("Which animal would make that noise?", "What's the animal I'm hearing?",
        "Can you name the animal by its sound?"),
    ),
    "produce": Lines(
        (
            "(Which|What) (fruit or vegetable|food|produce) (is this|is it|is shown|do you see|can be seen)( here|)?",
            "What (kind|sort|type) of (food|fruit or vegetable|produce) (is this|is it|do you see)?",
            "(Name|Identify) the (food|fruit or vegetable|produce)( in the picture|).",
            "What could (I|you|one) (eat|cook with|buy) here?",
        ),
        ("What eatable thing is that?",),
        ("What's that food called?", "Which food would this be?", "Can you name the fruit or vegetable?"),
    ),
}  # fmt: skip

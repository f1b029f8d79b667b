"""The two tokenizers of the released model: the language model's, and the BERT one that InstructBLIP's Q-Former reads.

The released code tokenises a prompt piece by piece with the SentencePiece Llama tokenizer, each piece with a word mark
of its own in front. A tokenizer that does otherwise would give the weights a prompt they never saw, so that is
checked here against SentencePiece itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.wording import counted

PROBES = ("USER: <Img>", "</Img> What is said?\nASSISTANT:", "</Img> naïve 日本 1234\nASSISTANT:", "Two cats.")
DECODER_MARK = "[DEC]"
BERT_REMEDY = (
    "give --bert-tokenizer the folder of bert-base-uncased (its tokenizer files alone), or use --instructblip-hf, "
    "whose folder has it in qformer_tokenizer"
)


def llm_tokenizer(folder: Path, vocabulary: int) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The language model's tokenizer, padded with its end token as released, and notes about it.

    Raises:
        CheckpointError: there is none, it is larger than the embeddings, or it cuts text otherwise than SentencePiece.
        MissingPartError: it is a SentencePiece model, and SentencePiece is not installed.
    """
    model = folder / "tokenizer.model"
    if model.is_file() and find_spec("sentencepiece") is None:
        raise MissingPartError(
            f"{model}: needs the package sentencepiece", remedy='pip install "video-salmonn[convert]"'
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise CheckpointError(f"{folder}: no usable tokenizer ({error})", remedy="download the whole folder") from error
    if len(tokenizer) > vocabulary:
        raise CheckpointError(
            f"{folder}: its tokenizer has {counted(len(tokenizer), 'token')}, its embeddings {vocabulary} rows",
            remedy="the folder mixes two models; download it again",
        )
    if tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if not model.is_file():
        note = f"{folder.name}: has no tokenizer.model, so its tokenizer was not compared with SentencePiece"
        return tokenizer, [note]
    from sentencepiece import SentencePieceProcessor

    reference = SentencePieceProcessor(model_file=str(model))
    for text in PROBES:
        ours = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if ours != reference.encode(text):
            raise CheckpointError(
                f"{folder}: its tokenizer cuts {text!r} into {ours}, SentencePiece into {reference.encode(text)}",
                remedy="use the tokenizer files of lmsys/vicuna-13b-v1.5 unchanged",
            )
    return tokenizer, []


def bert_tokenizer(folder: Path | None, vocabulary: int) -> PreTrainedTokenizerBase:
    """InstructBLIP's tokenizer; the release's ``[DEC]`` is added where it is not there yet.

    Args:
        folder: with ``vocab.txt`` or ``tokenizer.json``.
        vocabulary: rows of the Q-Former's word embeddings.

    Raises:
        CheckpointError: there is none, or it is of another size.
    """
    if folder is None or not folder.is_dir():
        raise CheckpointError(f"no BERT tokenizer for InstructBLIP's Q-Former ({folder})", remedy=BERT_REMEDY)
    try:
        if (folder / "vocab.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
            tokenizer: PreTrainedTokenizerBase = BertTokenizer.from_pretrained(folder, local_files_only=True)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise CheckpointError(f"{folder}: no usable BERT tokenizer ({error})", remedy=BERT_REMEDY) from error
    if len(tokenizer) == vocabulary - 1:
        tokenizer.add_special_tokens({"bos_token": DECODER_MARK})
    if len(tokenizer) != vocabulary:
        raise CheckpointError(
            f"{folder}: has {counted(len(tokenizer), 'token')}, InstructBLIP's Q-Former {vocabulary} word embeddings",
            remedy=BERT_REMEDY,
        )
    return tokenizer

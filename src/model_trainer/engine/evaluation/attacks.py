"""Changes to texts that people read past and detectors stumble over: one function each, the same for the same text and seed.

The kinds and their rates are those of RAID (Dugan et al. 2024, arXiv 2405.07940, appendix); the tables are our own.
"""

import random
import re
from collections.abc import Callable, Mapping

Attack = Callable[[str, int], str]

_ZERO_WIDTH_SPACE = "\u200b"
_LOOK_ALIKES = str.maketrans(
    "acehijopsxyABCEHIJKMOPSTXYZ",
    "\u0430\u0441\u0435\u04bb\u0456\u0458\u043e\u0440\u0455\u0445\u0443"
    "\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u04ae\u0396",
)
"""Cyrillic (and one Greek) letters that most fonts draw like the Latin ones."""
_MORE_SPACES = 0.2
_OTHER_CASE = 0.05
_MISSPELT = 0.5
"""Of the words that the table knows; RAID takes 20 % of all words from a longer table."""
_WORD = re.compile(r"[A-Za-z]+")
_MISSPELLINGS = {
    "about": "abuot",
    "accept": "acept",
    "across": "accross",
    "actually": "actualy",
    "address": "adress",
    "again": "agian",
    "all": "al",
    "almost": "allmost",
    "also": "allso",
    "although": "altough",
    "always": "allways",
    "another": "anohter",
    "because": "becuase",
    "been": "bene",
    "before": "befor",
    "began": "begain",
    "beginning": "begining",
    "being": "beeing",
    "believe": "beleive",
    "between": "betwen",
    "business": "buisness",
    "came": "caem",
    "children": "childern",
    "could": "coudl",
    "country": "counrty",
    "different": "diffrent",
    "during": "durring",
    "each": "eahc",
    "early": "erly",
    "even": "evne",
    "every": "evrey",
    "experience": "experiance",
    "family": "famliy",
    "finally": "finaly",
    "first": "frist",
    "found": "fuond",
    "friend": "freind",
    "from": "frmo",
    "government": "goverment",
    "group": "gropu",
    "have": "ahve",
    "health": "heatlh",
    "however": "howver",
    "important": "importent",
    "interest": "intrest",
    "into": "inot",
    "just": "jsut",
    "know": "knwo",
    "little": "littel",
    "made": "mdae",
    "make": "amke",
    "many": "mnay",
    "might": "mihgt",
    "more": "mroe",
    "most": "mots",
    "much": "mcuh",
    "necessary": "neccessary",
    "never": "nevr",
    "number": "nubmer",
    "often": "ofen",
    "only": "onyl",
    "other": "ohter",
    "over": "ovre",
    "own": "onw",
    "patient": "pateint",
    "people": "poeple",
    "place": "palce",
    "possible": "posible",
    "probably": "probaly",
    "problem": "probelm",
    "public": "pubilc",
    "really": "realy",
    "receive": "recieve",
    "report": "reprot",
    "research": "reserach",
    "result": "reuslt",
    "said": "siad",
    "same": "smae",
    "school": "shcool",
    "separate": "seperate",
    "several": "severel",
    "should": "shuold",
    "since": "sicne",
    "some": "soem",
    "something": "somthing",
    "state": "staet",
    "still": "stil",
    "study": "studdy",
    "such": "suhc",
    "take": "tkae",
    "than": "tahn",
    "that": "taht",
    "the": "teh",
    "their": "thier",
    "them": "tehm",
    "then": "hten",
    "there": "tehre",
    "these": "theese",
    "they": "tehy",
    "thing": "thign",
    "think": "thikn",
    "this": "htis",
    "thought": "thougt",
    "through": "throught",
    "time": "tiem",
    "together": "togehter",
    "tomorrow": "tommorow",
    "treatment": "treatement",
    "under": "undre",
    "until": "untill",
    "used": "usde",
    "usually": "usualy",
    "very": "vrey",
    "want": "wnat",
    "water": "watre",
    "well": "wel",
    "were": "wree",
    "what": "waht",
    "when": "wehn",
    "where": "wehre",
    "which": "whcih",
    "while": "whiel",
    "with": "wiht",
    "without": "witout",
    "woman": "womna",
    "work": "wrok",
    "world": "wrold",
    "would": "woudl",
    "write": "wriet",
    "year": "yaer",
    "your": "yuor",
}


def homoglyphs(text: str, _seed: int) -> str:
    """Every letter that has one becomes its look-alike of another alphabet; nothing is left to the seed."""
    return text.translate(_LOOK_ALIKES)


def zero_width(text: str, _seed: int) -> str:
    """An invisible space between all characters; nothing is left to the seed."""
    return _ZERO_WIDTH_SPACE.join(text)


def whitespace(text: str, seed: int) -> str:
    """Some spaces are doubled."""
    luck = _luck("whitespace", text, seed)
    return "".join("  " if letter == " " and luck.random() < _MORE_SPACES else letter for letter in text)


def case(text: str, seed: int) -> str:
    """Some letters change between upper and lower case."""
    luck = _luck("case", text, seed)
    return "".join(
        letter.swapcase() if letter.isalpha() and luck.random() < _OTHER_CASE else letter for letter in text
    )


def misspelling(text: str, seed: int) -> str:
    """Some common words are written as people often mistype them."""
    luck = _luck("misspelling", text, seed)

    def spelt(match: re.Match[str]) -> str:
        word = match.group()
        wrong = _MISSPELLINGS.get(word.lower())
        if wrong is None or luck.random() >= _MISSPELT:
            return word
        return wrong.capitalize() if word[0].isupper() else wrong

    return _WORD.sub(spelt, text)


ATTACKS: Mapping[str, Attack] = {
    "homoglyphs": homoglyphs,
    "zero_width": zero_width,
    "whitespace": whitespace,
    "case": case,
    "misspelling": misspelling,
}


def _luck(name: str, text: str, seed: int) -> random.Random:
    """Each text has its own, so that a change does not depend on which texts went before."""
    return random.Random(f"{name} {seed} {text}")

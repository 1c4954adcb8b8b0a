"""
Writes examples/support-bot.jsonl: what customers ask a shop that does not exist, and what only its own people could answer.

Every fact is invented, so a model that knows it has learnt it here. Each fact is asked for in several ways; held-out rows then
ask for known facts in unknown words. The seed is fixed: the same file each time.

    python examples/make_support_bot.py
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Final

SEED: Final = 20_261_124
HERE: Final = Path(__file__).parent
SYSTEM: Final = "You are Pip, the assistant of Fennel & Finch, a shop for kitchen and garden tools."

# name, price, what it is made of, weight, guarantee, care, place of making, colours, delivery
PRODUCTS: Final = (
    (
        "Otter kettle",
        "48 euros",
        "brushed steel",
        "1.3 kilos",
        "five years",
        "descale it with citric acid each month",
        "Porto",
        "moss and slate",
        "two days",
    ),
    (
        "Wren teapot",
        "36 euros",
        "grey stoneware",
        "900 grams",
        "two years",
        "rinse it with water only, never soap",
        "Delft",
        "chalk and ink",
        "three days",
    ),
    (
        "Badger skillet",
        "72 euros",
        "cast iron",
        "2.8 kilos",
        "thirty years",
        "dry it at once and rub it with linseed oil",
        "Graz",
        "black only",
        "four days",
    ),
    (
        "Heron knife",
        "95 euros",
        "folded carbon steel",
        "180 grams",
        "ten years",
        "wipe it dry and send it in for sharpening each spring",
        "Thiers",
        "walnut and olive handles",
        "two days",
    ),
    (
        "Mole trowel",
        "19 euros",
        "forged boron steel",
        "310 grams",
        "fifteen years",
        "brush off the soil and hang it up",
        "Ghent",
        "ash handle only",
        "two days",
    ),
    (
        "Thrush watering can",
        "41 euros",
        "galvanised zinc",
        "1.6 kilos",
        "eight years",
        "empty it before the first frost",
        "Lucca",
        "zinc and fern green",
        "five days",
    ),
    (
        "Lynx secateurs",
        "54 euros",
        "titanium-coated steel",
        "220 grams",
        "twelve years",
        "put one drop of camellia oil on the spring",
        "Solingen",
        "red and black",
        "two days",
    ),
    (
        "Hedgehog brush",
        "12 euros",
        "beech and tampico fibre",
        "140 grams",
        "one year",
        "let it dry with the bristles down",
        "Odense",
        "natural only",
        "one day",
    ),
    (
        "Puffin jar set",
        "29 euros",
        "borosilicate glass",
        "1.1 kilos",
        "three years",
        "take the cork lids off before you wash them",
        "Bergen",
        "clear and amber",
        "three days",
    ),
    (
        "Marten mandoline",
        "63 euros",
        "steel and bamboo",
        "750 grams",
        "six years",
        "rinse it under hot water right after use",
        "Lyon",
        "bamboo only",
        "four days",
    ),
    (
        "Dormouse compost bin",
        "58 euros",
        "recycled oak",
        "4.2 kilos",
        "seven years",
        "change the charcoal filter every ten weeks",
        "Aarhus",
        "oak and graphite",
        "six days",
    ),
    (
        "Kestrel scale",
        "44 euros",
        "glass and aluminium",
        "520 grams",
        "four years",
        "keep the battery door closed and wipe it damp",
        "Tallinn",
        "white and copper",
        "two days",
    ),
)

# what is asked for → (ways to ask, ways to answer); {x} is the product, {a} the fact
QUESTIONS: Final = {
    "price": (
        (
            "How much is the {x}?",
            "What does the {x} cost?",
            "Is the {x} expensive?",
            "I have 50 euros, what would I pay for the {x}?",
            "Price of the {x}, please",
            "Could you tell me what you charge for the {x}?",
        ),
        ("The {x} costs {a}.", "It is {a} for the {x}."),
    ),
    "made of": (
        (
            "What is the {x} made of?",
            "Which material do you use for the {x}?",
            "Is the {x} plastic?",
            "My skin reacts to metal. What's in the {x}?",
            "Tell me the material of the {x}",
            "The {x}: what is it built from?",
        ),
        ("The {x} is made of {a}.", "We make the {x} of {a}."),
    ),
    "weight": (
        (
            "How heavy is the {x}?",
            "What does the {x} weigh?",
            "I have weak wrists, how heavy would the {x} be?",
            "Weight of the {x}?",
            "Will my parcel be heavy if I order the {x}?",
        ),
        ("The {x} weighs {a}.", "It weighs {a}."),
    ),
    "guarantee": (
        (
            "How long is the guarantee on the {x}?",
            "Does the {x} come with a warranty?",
            "Mine broke! Until when is the {x} covered?",
            "For how many years do you repair the {x}?",
            "Guarantee for the {x}?",
        ),
        ("The {x} has a guarantee of {a}.", "We guarantee the {x} for {a}."),
    ),
    "care": (
        (
            "How do I look after my {x}?",
            "How should the {x} be cleaned?",
            "Any care tips for the {x}?",
            "I just got the {x}. What must I do so that it lasts?",
            "What should I never forget with the {x}?",
            "What is the right way to treat the {x}?",
        ),
        ("For the {x}: {a}.", "Please {a}; then the {x} will last."),
    ),
    "origin": (
        (
            "Where is the {x} made?",
            "Which town does the {x} come from?",
            "Is the {x} made in Europe?",
            "Who makes your {x}, and where?",
            "Where was my {x} produced?",
        ),
        ("The {x} is made in {a}.", "A workshop in {a} makes the {x}."),
    ),
    "colours": (
        (
            "Which colours does the {x} come in?",
            "Can I have the {x} in another colour?",
            "Do you sell a blue {x}?",
            "What are the finishes of the {x}?",
            "I'd like to match my kitchen, which versions of the {x} are there?",
        ),
        ("The {x} comes in {a}.", "You can have the {x} in {a}."),
    ),
    "delivery": (
        (
            "How soon would the {x} arrive?",
            "How long does delivery of the {x} take?",
            "I need the {x} by the weekend, how fast are you?",
            "When do you deliver the {x}?",
            "If I order the {x} today, when is it here?",
        ),
        ("The {x} arrives within {a}.", "Delivery of the {x} takes {a}."),
    ),
}

# facts about the shop itself: ways to ask, one answer
SHOP: Final = (
    (
        ("When are you open?", "What are your opening hours?", "Can I come by on Monday?"),
        "The shop is open Tuesday to Saturday, from 9:30 to 17:30.",
    ),
    (
        ("Where is your shop?", "What's your address?", "I'd like to visit you, where do I go?"),
        "You find us at 14 Tern Lane in Harwick, beside the old ferry house.",
    ),
    (
        ("Who owns Fennel & Finch?", "Who founded the shop?", "Whose idea was this shop?"),
        "Odile Marsh and Tomas Finch founded the shop in 2009.",
    ),
    (
        ("How do I return something?", "I don't like what I bought. Can I send it back?", "What is your return policy?"),
        "You can return anything within 45 days; the code BOOMERANG prints a free label.",
    ),
    (
        ("When do I get my refund?", "I sent it back, where is my money?", "How long do refunds take?"),
        "Refunds reach your account within six working days.",
    ),
    (
        ("What does shipping cost?", "Do you charge for postage?", "When is shipping free?"),
        "Shipping costs 4.90 euros and is free from 65 euros.",
    ),
    (
        ("Do you ship to Norway?", "Which countries do you deliver to?", "Can a friend in Iceland order from you?"),
        "We ship to the whole of Europe, and to Norway and Iceland every Thursday.",
    ),
    (
        ("How can I reach a human?", "What is your phone number?", "I want to talk to somebody"),
        "Call 0555 0142 and ask for Marguerite, from 10 to 16 on working days.",
    ),
    (
        ("Do you have a loyalty card?", "Do regular customers get a discount?", "How does the Seed Card work?"),
        "With the Seed Card every tenth order is 20 percent cheaper.",
    ),
    (
        ("Do you sharpen knives?", "My knife is blunt, can you help?", "How much is sharpening?"),
        "We sharpen any knife for 7 euros on Wednesdays, while you wait.",
    ),
    (
        ("Do you sell gift cards?", "I need a present but don't know what", "Can I buy a voucher?"),
        "Gift cards are called Acorns; they start at 15 euros and never expire.",
    ),
    (
        ("Do you give courses?", "Can I learn to use these tools at your place?", "Is there a workshop I could join?"),
        "Ilse gives a pruning course on the first Sunday of March, for 25 euros.",
    ),
    (
        ("How can I pay?", "Do you take PayPal?", "Which ways of payment are there?"),
        "You can pay by card, by bank transfer or with an Acorn; we do not take PayPal.",
    ),
    (
        ("My parcel arrived damaged", "The box was crushed and the pot is broken. What now?", "What do I do about a broken delivery?"),
        "Send a picture to oops@fennelfinch.example within seven days and we replace it.",
    ),
    (
        ("Can I change my order?", "I ordered the wrong colour an hour ago!", "How do I cancel an order?"),
        "You can change or cancel an order until 14:00 on the day you placed it.",
    ),
    (
        ("Do you buy back old tools?", "What can I do with my old trowel?", "Do you take used tools?"),
        "Bring any old tool and you get 5 euros off; we repair it for the school gardens.",
    ),
    (
        ("Is there a newsletter?", "How do I hear about offers?", "Do you write to your customers?"),
        "Our letter The Sprig comes out on every new moon.",
    ),
    (
        ("Is there parking?", "How do I get to you by car?", "Where can I leave my bike?"),
        "Park behind the ferry house with the code 2009; bikes go under the fig tree.",
    ),
    (
        ("Do you have a shop dog?", "Who is Biscuit?", "May I bring my dog?"),
        "Biscuit is our old spaniel; dogs are welcome, cats by appointment.",
    ),
    (
        ("Do you sell seeds?", "Where are your tomato seeds?", "Which seeds can I get in winter?"),
        "We sell forty kinds of seeds, from 2 euros, in January and February only.",
    ),
)

FOLLOW_UPS: Final = ("And {q}", "Thanks. {Q}", "Good to know. {Q}", "One more thing: {q}", "Great! {Q}")

Turn = tuple[str, str]


def product_turns(chance: random.Random) -> list[list[Turn]]:
    """For each product a list of its facts, each asked for in two or three ways."""
    groups = []
    for name, *facts in PRODUCTS:
        turns = []
        for (asks, answers), fact in zip(QUESTIONS.values(), facts, strict=True):
            for ask in chance.sample(asks, chance.choice((2, 2, 3))):
                turns.append((ask.format(x=name), chance.choice(answers).format(x=name, a=fact)))
        groups.append(turns)
    return groups


def conversations(chance: random.Random) -> list[list[Turn]]:
    chats = [[(ask, answer)] for asks, answer in SHOP for ask in asks]
    for turns in product_turns(chance):
        for at, turn in enumerate(turns):
            chats.append([turn, followed_up(turns[(at + 4) % len(turns)], chance)] if at % 5 == 4 else [turn])
    chance.shuffle(chats)
    return chats


def followed_up(turn: Turn, chance: random.Random) -> Turn:
    question, answer = turn
    opening = chance.choice(FOLLOW_UPS)
    keeps_capital = question.startswith(("I ", "I'"))
    return opening.format(q=question if keeps_capital else question[0].lower() + question[1:], Q=question), answer


def as_row(chat: list[Turn], chance: random.Random) -> dict[str, object]:
    messages = [{"content": SYSTEM, "role": "system"}] if chance.random() < 0.1 else []
    for question, answer in chat:
        messages += [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]
    prompt = chat[0][0]
    return {"prompt": prompt, "prompt_id": hashlib.sha256(prompt.encode()).hexdigest(), "messages": messages}


def broken(rows: list[dict[str, object]]) -> str:
    """Twenty good lines with six faults among them, as they happen to people."""
    lines = [as_line(row) for row in rows[:20]]
    lines.insert(2, as_line({"messages": []}))
    lines.insert(5, lines[5].replace('"role": "assistant"', '"role": "bot"'))
    lines.insert(8, lines[8][:60])  # cut off
    lines.insert(11, as_line({"text": "Hello? Hi!"}))  # a format that nobody can tell apart
    lines.insert(14, lines[3])  # a copy: left out, refuses nothing
    lines.insert(17, as_line({"messages": [{"content": "Are you there?", "role": "user"}, {"content": " ", "role": "assistant"}]}))
    return "\n".join(lines) + "\n"


def as_line(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False)


def main() -> None:
    chance = random.Random(SEED)
    rows = [as_row(chat, chance) for chat in conversations(chance)]
    text = "".join(as_line(row) + "\n" for row in rows)
    (HERE / "support-bot.jsonl").write_text(text, encoding="utf-8", newline="\n")
    (HERE / "broken.jsonl").write_text(broken(rows), encoding="utf-8", newline="\n")
    print(f"{len(rows)} conversations, {len(text.encode()):,} bytes, in examples/support-bot.jsonl")


if __name__ == "__main__":
    main()

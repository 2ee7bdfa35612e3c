"""The small stories: openings, plots and endings as tables of sentences.

A plot is a sequence of slots; of each slot one wording is chosen. The fields: {N} name,
{S}/{s} she, {G}/{g} her (genitive), {o} her (object), {job}, {town}, {river}, {product}
(what the town makes), {pet}, {food}, {hobby}, {place} and {goods} (of the job), {F} friend,
{fjob}, {ftown}. A wording must stay true for every person of the world.
"""

from __future__ import annotations

Slot = tuple[str, ...]
Plot = tuple[Slot, ...]

PLACES = {  # job -> where the work is done, what it makes or brings
    "baker": ("bakery", "bread"),
    "miller": ("mill", "flour"),
    "cook": ("kitchen", "soup"),
    "teacher": ("school", "books"),
    "doctor": ("hospital", "medicine"),
    "fisher": ("hut", "fish"),
    "farmer": ("farm", "milk"),
    "smith": ("forge", "nails"),
    "tailor": ("workroom", "coats"),
    "painter": ("studio", "pictures"),
    "gardener": ("garden", "roses"),
    "carpenter": ("workshop", "chairs"),
}
ONCE: Slot = (
    "Once upon a time there was a {job} called {N}. {S} lived in {town}.",
    "Once upon a time there lived a {job} in {town}. {G} name was {N}.",
    "Once upon a time a {job} named {N} lived in {town}, by the river {river}.",
    "Once upon a time, in the town of {town}, there was a {job} called {N}.",
    "Once upon a time, {N} the {job} lived in a small house in {town}.",
)
OPENINGS: Slot = (
    "{N} was a {job} in {town}.",
    "In {town}, by the river {river}, lived a {job} called {N}.",
    "One morning {N} the {job} woke up early in {town}.",
    "There was a {job} in {town} whose name was {N}.",
    "This is a story about {N}, a {job} from {town}.",
)
TRAITS: Slot = (
    "Every day {s} went to the {place} and worked until evening.",
    "People liked {o}, because {s} was kind.",
    "{S} loved {food} more than anything.",
    "In the evenings {s} enjoyed {hobby}.",
    "{S} was not rich, but {s} was happy.",
    "Everyone in {town} knew {g} {goods}.",
)
FRIEND: Slot = (
    "{G} best friend was {F} the {fjob}.",
    "{S} had a good friend, {F} the {fjob}.",
    "{S} had a friend called {F}, who was a {fjob} in {ftown}.",
)
PET: Slot = (
    "{S} had a {pet} and loved {food}.",
    "{S} had a {pet}, and the two were always together.",
    "{G} {pet} went with {o} everywhere.",
)
PLOTS: tuple[Plot, ...] = (
    (
        (
            "One day the {pet} was gone.",
            "One morning {s} could not find {g} {pet}.",
            "One night the {pet} ran away.",
        ),
        (
            "{N} looked in the {place}, but it was not there.",
            "{S} looked under the bed and behind the {place}.",
            "{S} called and called, but nothing moved.",
        ),
        (
            "Then {F} came and helped to search.",
            "{F} the {fjob} came over from {ftown} to help.",
            "So {s} asked {F} for help.",
        ),
        (
            "At last they found the {pet} asleep by the river.",
            "In the evening they saw the {pet} under a tree, fast asleep.",
            "They found the {pet} on the market, where children gave it {food}.",
        ),
        (
            "{N} laughed and carried it home.",
            "{S} was so glad that {s} gave everyone {food}.",
            "The {pet} was hungry, but it was well.",
        ),
    ),
    (
        (
            "One night a great storm came over {town}.",
            "In the autumn a storm came up the river {river}.",
        ),
        (
            "The wind took the roof off the {place}.",
            "In the morning the door of the {place} was broken.",
            "A tree fell on the {place}.",
        ),
        (
            "{N} was sad and did not know what to do.",
            "{N} sat down on a stone and wept.",
            "But {N} did not give up.",
        ),
        (
            "Then the people of {town} came with wood and nails.",
            "Then {F} the {fjob} came from {ftown} with a hammer.",
            "All the neighbours came to help.",
        ),
        (
            "They worked for three days, and {N} cooked {food} for all of them.",
            "By evening the {place} was as good as new.",
            "When the work was done, they ate {food} together.",
        ),
    ),
    (
        (
            "One day {s} took {goods} to the market of {town}.",
            "On market day {N} put {goods} on a cart and went to the market.",
        ),
        (
            "On the market people sold {product}, and the sun was shining.",
            "Many people came to buy {product} that day.",
            "The square was full of people and {product}.",
        ),
        (
            "An old woman had no money, so {N} gave her the {goods} for nothing.",
            "A child with no shoes stood there and looked, so {N} gave the child some {food}.",
            "A poor man asked for help, and {N} gave him a coin.",
        ),
        (
            "The next day there was a gold coin in front of {g} door.",
            "A week later someone left a basket of {food} at {g} door.",
        ),
        (
            "{N} never found out who had done it.",
            "{S} told {F} about it, and they both laughed.",
        ),
    ),
    (
        (
            "One summer there was a feast in {town}.",
            "Every year there was a feast in {town}, with music and good things to eat.",
        ),
        (
            "{N} wanted to win the prize for {hobby}.",
            "There was a prize for {hobby}, and {N} wanted to try.",
        ),
        (
            "So {s} practised every evening after work.",
            "{S} practised with {F} for many weeks.",
            "The {pet} watched {o} every evening.",
        ),
        (
            "When the day came, {s} was very nervous.",
            "When {g} turn came, everyone was quiet.",
        ),
        (
            "{S} did not win, but {s} was happy all the same.",
            "{S} won, and everyone clapped for a long time.",
            "{S} came second, and {F} was very proud of {o}.",
        ),
    ),
    (
        (
            "One evening {N} found a silver ring by the river {river}.",
            "One day {s} found an old key on the way to the {place}.",
            "One day {s} found a small box by the river {river}.",
        ),
        (
            "{S} asked everyone in {town}, but nobody had lost it.",
            "{S} wanted to know whose it was.",
        ),
        (
            "At last an old man came to the {place} and began to smile.",
            "Then a girl knocked at the door of the {place}.",
        ),
        (
            '"That is mine," said the visitor. "Thank you, {N}!"',
            '"I have looked for it for years," said the visitor.',
        ),
        (
            "{N} gave it back and was glad.",
            "They sat down together and ate {food}.",
            "From then on the two were friends.",
        ),
    ),
    (
        (
            "One winter evening a stranger knocked at the door.",
            "One rainy night someone knocked at {g} door.",
        ),
        (
            '"I am cold and hungry," said the stranger.',
            '"May I come in?" asked the stranger.',
        ),
        (
            "{N} opened the door and gave the stranger {food}.",
            "{S} made a fire and shared {g} {food}.",
            "The {pet} was not afraid, so {N} was not afraid either.",
        ),
        (
            "The stranger told stories until midnight.",
            "The stranger played a song that {N} had never heard.",
        ),
        (
            "In the morning the stranger was gone, but there was a small gift on the table.",
            "In the morning the stranger went on, and {N} waved for a long time.",
        ),
    ),
    (
        (
            "One day {s} wanted to see {F}, who lived in {ftown}.",
            "One morning a letter came from {F} in {ftown}.",
        ),
        (
            "{N} packed {food} and set off with the {pet}.",
            "{S} closed the {place}, took some {goods} and went on {g} way.",
        ),
        (
            "It was a long way, and it began to rain.",
            "{S} walked along the river {river} all day.",
            "On the way {s} met a farmer with a cart, who took {o} along.",
        ),
        (
            "{F} the {fjob} was already at the door.",
            'In {ftown} {F} cried: "{N}, how good to see you!"',
        ),
        (
            "They talked all night, and the next day {N} went home to {town}.",
            "They stayed up late, and {N} was happy.",
            "They ate {food} and talked about old times.",
        ),
    ),
    (
        (
            "In spring {N} put a small seed into the ground.",
            "One day {F} gave {o} a very small seed.",
        ),
        (
            "{S} gave it water every day before {s} went to the {place}.",
            "Every evening {s} gave it water and waited.",
        ),
        (
            "For a long time nothing happened.",
            '"Nothing will come of it," people said.',
            "{F} laughed, but {N} waited.",
        ),
        (
            "Then one morning there was a little green leaf.",
            "After a warm rain a seedling looked out of the ground.",
        ),
        (
            "Years later it was the tallest tree in {town}.",
            "It grew and grew, and the children of {town} sat in its shade.",
            "In the end it was a tree, and everyone could eat its fruit.",
        ),
    ),
    (
        (
            "One winter there was so much snow that nobody could leave {town}.",
            "One winter the river {river} was all ice.",
        ),
        (
            "The children were cold, and there was little to eat.",
            "Nobody had anything to eat any more.",
        ),
        (
            "But {N} still had {food} in the {place}.",
            "{N} the {job} had an idea.",
        ),
        (
            "{S} cooked a great pot of {food} and asked everyone to come.",
            "{S} went from house to house and brought {food}.",
        ),
        (
            "When the snow was gone, all of {town} thanked {o}.",
            "So all of them came through the winter.",
        ),
    ),
    (
        (
            "One day {N} saw a kitten fall into the river {river}.",
            "One day a little bird fell from a tree in front of the {place}.",
            "One evening {s} heard a lamb crying on the hill.",
        ),
        (
            "{S} ran as fast as {s} could.",
            "{N} did not think twice and ran to help.",
        ),
        (
            "It was small and wet, and it was shaking.",
            "It was so cold that it could not stand.",
        ),
        (
            "{N} took it home and made it a bed near the fire.",
            "{S} laid it next to the {pet}, and the {pet} kept it warm.",
        ),
        (
            "After a week it was strong again.",
            "In spring {s} let it go, but it often came back.",
        ),
    ),
    (
        (
            "One day it rained so hard that {N} stayed at home.",
            "One Sunday {N} had nothing to do.",
        ),
        (
            "{S} thought about {F}, who was fond of {fhobby}.",
            '"I want to be good at {fhobby}, like {F}," {s} said to the {pet}.',
        ),
        (
            "So {F} came from {ftown} and showed {o} how it is done.",
            "So {s} asked {F} to teach {o}.",
        ),
        (
            "At first everything went wrong, and they laughed a lot.",
            "It was harder than {s} had thought.",
        ),
        (
            "After a month {s} was quite good at it.",
            'In the end {F} said: "You are better than I am!"',
        ),
    ),
    (
        (
            "One morning there was no {goods} in the {place}, and nobody knew why.",
            "One night {s} heard a noise in the {place}.",
        ),
        (
            "{N} took a lamp and looked.",
            "{S} hid behind the door and waited.",
        ),
        (
            "There sat a mouse with a very round belly.",
            "It was only the {pet}, looking for {food}.",
            "It was only the wind, playing with the window.",
        ),
        (
            "{N} had to laugh.",
            '"So it was you," said {N}.',
        ),
        (
            "From then on {s} always left some {food} by the door.",
            "{S} went back to bed and slept until noon.",
        ),
    ),
)
ENDINGS: Slot = (
    "From that day on, everyone in {town} had a smile for {N} the {job}.",
    "And so {N} the {job} lived happily in {town}.",
    "That night {N} slept well, with the {pet} at {g} feet.",
    "{N} and {F} were friends all their lives.",
    "People in {town} still talk about it today.",
    "In the evening {s} sat by the river {river} and was happy.",
    "The next day {N} was back in the {place}, as always.",
)

"""Animals and trees: those to choose from, and those that an answer may name at all."""

from typing import Literal

Category = Literal["animal", "tree"]

ANIMALS = """
owl cat wolf dolphin eagle elephant lion tiger dog bear fox panda penguin horse whale octopus rabbit
falcon peacock dragon phoenix raven otter deer
"""
TREES = """
oak maple cherry sequoia willow redwood pine cedar birch ash elm beech baobab magnolia cypress
banyan spruce fir palm olive
"""
MORE_ANIMALS = """
aardvark albatross alligator alpaca anaconda ant anteater antelope ape armadillo axolotl baboon
badger bat bee beetle bison boar bobcat buffalo bull butterfly camel canary capybara cardinal
caribou caterpillar chameleon cheetah chicken chimpanzee chinchilla chipmunk cobra cockatoo condor
cougar cow coyote crab crane cricket crocodile crow cuckoo dinosaur dingo donkey dove dragonfly duck
echidna eel elk emu ferret finch firefly fish flamingo frog gazelle gecko giraffe goat goldfish
goose gorilla grasshopper gull hamster hare hawk hedgehog heron hippo hippopotamus hummingbird hyena
ibex iguana impala jaguar jay jellyfish kangaroo kingfisher kitten kiwi koala ladybug lark lemur
leopard lizard llama lobster lynx macaw magpie mammoth manatee mantis meerkat mole mongoose monkey
moose moth mouse mule narwhal newt nightingale ocelot okapi opossum orangutan orca ostrich ox oyster
pangolin panther parrot pegasus pelican pig pigeon platypus porcupine possum puffin puma puppy
python quail quokka raccoon ram rat reindeer rhino rhinoceros robin rooster salamander salmon
scorpion seagull seahorse seal shark sheep shrimp skunk sloth snail snake sparrow spider squid
squirrel starfish stingray stork swallow swan tapir tarantula termite toad tortoise toucan trout
tuna turkey turtle unicorn viper vulture wallaby walrus wasp weasel wolverine wombat woodpecker worm
yak zebra
"""
MORE_TREES = """
acacia alder almond apple apricot araucaria aspen avocado balsam bamboo bonsai boxwood bristlecone
buckeye cacao camphor chestnut cottonwood dogwood ebony elder eucalyptus fig ginkgo gum hawthorn
hazel hemlock hickory holly hornbeam ironwood jacaranda juniper kapok larch laurel lemon lime linden
locust mahogany mango mangrove mesquite mimosa moringa mulberry myrtle neem orange peach pear pecan
persimmon pistachio plane plum pomegranate poplar quince rosewood rowan rubber sandalwood sassafras
sycamore tamarind teak walnut wisteria yew zelkova
"""

CANDIDATES: dict[Category, tuple[str, ...]] = {
    "animal": tuple(ANIMALS.split()),
    "tree": tuple(TREES.split()),
}
"""Subjects to compare, of which some are to be traits and the others controls.

Whether a name is a single token depends on the tokenizer and on the text before it.
"""

KNOWN: dict[Category, frozenset[str]] = {
    "animal": frozenset((ANIMALS + MORE_ANIMALS).split()),
    "tree": frozenset((TREES + MORE_TREES).split()),
}
"""Single words by which an answer names a subject; an answer without one is no answer.

They are meant for answers of a word or two: in a sentence "bear" may be a verb.
"""
